import random
from fractions import Fraction
from itertools import pairwise

import pytest
import torch
from support.film import read_number, write_film

from vidtldr.video.deadline import StopFlag
from vidtldr.video.decode import VideoError, read_clip
from vidtldr.video.sampling import Sampling
from vidtldr.video.segments import SegmentReader, cut_timeline
from vidtldr.video.timeline import build_timeline
from vidtldr.video.transform import VideoTransform


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


def test_repeated_frames_of_short_segments_are_said(tmp_path):
    film = write_film(tmp_path / "film.mp4", 24, rate=10)
    segments, reader = read(film, 0.8, 7)
    assert len(segments) == 3
    assert reader.notes == ()
    _, reader = read(film, 0.8, 9)
    assert reader.notes == ("too short: in 3 of 3 segments the last frame is repeated",)


def test_borders_are_exact():
    times = [Fraction(number, 10) for number in range(300)]
    timeline = build_timeline(list(range(300)), Fraction(1, 10), Fraction(10), True)
    assert list(timeline.times) == times
    cuts = cut_timeline(timeline, 0.1)
    assert [cut.positions for cut in cuts] == [(number,) for number in range(300)]
    assert [cut.start_seconds for cut in cuts] == [number / 10 for number in range(300)]


def test_frames_without_times_are_cut_by_the_rate_or_not_at_all():
    timeline = build_timeline([None] * 30, Fraction(1, 10), Fraction(10), True)
    cuts = cut_timeline(timeline, 1.0)
    assert [cut.positions[0] for cut in cuts] == [0, 10, 20]
    with pytest.raises(ValueError, match="neither timestamps nor a frame rate"):
        cut_timeline(build_timeline([None] * 30, Fraction(1, 10), None, True), 1.0)


def test_lengths_and_files_that_are_none_are_errors(tmp_path):
    for seconds in (0.0, -1.0, 1e-9, float("inf"), float("nan")):
        with pytest.raises(ValueError, match=r"segment_seconds must be at least 0\.001"):
            SegmentReader("a.mp4", Sampling(2), seconds, StopFlag())
    (tmp_path / "empty.mp4").touch()
    with pytest.raises(VideoError, match="cannot read its content"):
        read(tmp_path / "empty.mp4", 2.0)


def test_a_gap_of_years_costs_nothing(tmp_path):
    """A camera whose clock was set after its first frame."""
    pts = [0, *(17_000_000_000 + number for number in range(20))]
    film = write_film(tmp_path / "film.mkv", 21, rate=10, pts=pts)
    segments, _ = read(film, 1.0, 2)
    assert [each.start_seconds for each in segments] == [0.0, 1.7e9, 1.7e9 + 1]
    assert numbers(segments) == [[0, 0], [3, 8], [13, 18]]


def test_segments_are_resized_as_they_are_decoded(tmp_path):
    film = write_film(tmp_path / "film.mp4", 60, rate=10)
    transform = VideoTransform(resize=20, crop=(20, 20), mean=0.5, std=0.5)
    whole, _ = read(film, 2.0)
    resized = list(SegmentReader(str(film), Sampling(3), 2.0, StopFlag(), transform))
    for one, other in zip(whole, resized, strict=True):
        assert torch.equal(transform.resized(one.frames), other.frames)
        assert one.size == other.size == (38, 146)


def test_what_the_frames_are_like_is_said_of_segments_too(tmp_path):
    def turn(stream):
        stream.set_display_matrix([0, 1 << 16, 0, -1 << 16, 0, 0, 0, 0, 1 << 30])

    film = write_film(tmp_path / "film.mp4", 60, rate=10, setup=turn)
    _, reader = read(film, 2.0)
    assert reader.notes == read_clip(film, Sampling(3)).notes
    assert len(reader.notes) == 1


def test_an_error_of_a_library_is_an_error_of_the_file(tmp_path, monkeypatch):
    def fail(*_):
        raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory")

    film = write_film(tmp_path / "film.mp4", 60, rate=10)
    monkeypatch.setattr(VideoTransform, "resized", fail)
    reader = SegmentReader(str(film), Sampling(3), 2.0, StopFlag(), VideoTransform())
    with pytest.raises(VideoError, match="takes more memory than there is"):
        list(reader)
