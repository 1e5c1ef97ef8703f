import random
from fractions import Fraction
from itertools import pairwise

import pytest
import torch
from video.film import read_number, write_film

from vidtldr.video.deadline import StopFlag
from vidtldr.video.decode import VideoError, read_clip
from vidtldr.video.sampling import Sampling
from vidtldr.video.segments import SegmentReader, cut_timeline
from vidtldr.video.timeline import build_timeline


def read(path, seconds, num_frames=3):
    reader = SegmentReader(str(path), Sampling(num_frames), seconds, StopFlag())
    return list(reader), reader


def numbers(segments):
    return [[read_number(frame) for frame in segment.frames] for segment in segments]


def test_each_segment_has_its_own_frames(tmp_path):
    film = write_film(tmp_path / "film.mp4", 60, rate=10)
    segments, reader = read(film, 2.0)
    assert [(each.start_seconds, each.end_seconds) for each in segments] == [(0, 2), (2, 4), (4, 6)]
    assert numbers(segments) == [[2, 9, 16], [22, 29, 36], [42, 49, 56]]
    assert (reader.codec, reader.notes) == ("h264", ())


@pytest.mark.parametrize(
    ("num_frames", "ends"),
    [(5, [0.5]), (29, [2.9]), (30, [2, 3.0]), (49, [2, 4.9]), (50, [2, 4, 5])],
)
def test_a_rest_of_less_than_half_belongs_to_the_last(tmp_path, num_frames, ends):
    segments, _ = read(write_film(tmp_path / "film.mp4", num_frames, rate=10), 2.0)
    assert [each.end_seconds for each in segments] == pytest.approx(ends)
    starts = [each.start_seconds for each in segments]
    assert starts == [0, *(end for end, _ in pairwise(ends))]


def test_one_long_segment_is_the_whole_clip(tmp_path):
    film = write_film(tmp_path / "film.mkv", 37, options={"bf": "2", "g": "10"})
    [segment], _ = read(film, 100.0, 5)
    clip = read_clip(film, Sampling(5))
    assert torch.equal(segment.frames, clip.frames)
    assert segment.end_seconds == pytest.approx(clip.duration_seconds)


def test_a_gap_is_no_segment_and_times_decide(tmp_path):
    pts = [*range(10), *range(50, 60)]  # 1 s, nothing for 4 s, 1 s
    film = write_film(tmp_path / "film.mkv", 20, rate=10, pts=pts)
    segments, _ = read(film, 1.0, 2)
    assert [each.start_seconds for each in segments] == [0.0, 5.0]
    assert numbers(segments) == [[2, 7], [12, 17]]


@pytest.mark.parametrize("seed", range(8))
def test_of_a_damaged_file_every_frame_lies_in_its_own_segment(tmp_path, seed):
    """What the decoder gives is cut as a list would be cut that was known from the start."""
    film = write_film(tmp_path / "film.mkv", 90, rate=10, options={"g": "12"})
    content = bytearray(film.read_bytes())
    rng = random.Random(seed)
    for _ in range(12):
        content[rng.randrange(2000, len(content))] ^= 1 << rng.randrange(8)
    if seed % 2:
        del content[2 * len(content) // 3 :]
    film.write_bytes(content)
    try:
        whole = read_clip(film, Sampling(3))
    except VideoError:
        with pytest.raises(VideoError):
            read(film, 2.0)
        return
    segments, reader = read(film, 2.0)
    if any("FFmpeg filled the gaps" in note for note in reader.notes):
        return  # what it fills in depends on what lies in memory
    every = read_clip(film, Sampling(whole.num_frames_in_file))
    if None in every.timestamps_seconds:  # they contradict the order: no list to compare with
        again, _ = read(film, 2.0)
        assert numbers(again) == numbers(segments)
        return
    by_time = dict(zip(every.timestamps_seconds, every.frames, strict=True))
    first = min(by_time)
    for segment in segments:
        inside = [t for t in by_time if segment.start_seconds <= t - first < segment.end_seconds]
        frames = [by_time[t] for t in sorted(inside)]
        wanted = [frames[index] for index in Sampling(3).indices(len(frames))]
        assert torch.equal(segment.frames, torch.stack(wanted))


def test_borders_are_exact():
    times = [Fraction(number, 10) for number in range(300)]
    timeline = build_timeline(list(range(300)), Fraction(1, 10), Fraction(10), True)
    assert list(timeline.times) == times
    cuts = cut_timeline(timeline, Fraction(10), 0.1)
    assert [cut.positions for cut in cuts] == [(number,) for number in range(300)]
    assert [cut.start_seconds for cut in cuts] == [number / 10 for number in range(300)]


def test_frames_without_times_are_cut_by_the_rate_or_not_at_all():
    timeline = build_timeline([None] * 30, Fraction(1, 10), Fraction(10), True)
    cuts = cut_timeline(timeline, Fraction(10), 1.0)
    assert [cut.positions[0] for cut in cuts] == [0, 10, 20]
    with pytest.raises(ValueError, match="neither timestamps nor a frame rate"):
        cut_timeline(build_timeline([None] * 30, Fraction(1, 10), None, True), None, 1.0)


def test_lengths_and_files_that_are_none_are_errors(tmp_path):
    with pytest.raises(ValueError, match="segment_seconds must be above 0"):
        SegmentReader("a.mp4", Sampling(2), 0.0, StopFlag())
    (tmp_path / "empty.mp4").touch()
    with pytest.raises(VideoError, match="cannot read its content"):
        read(tmp_path / "empty.mp4", 2.0)
