from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import pytest
from support.film import numbered, write_film

from vidtldr.video.decode import read_clip
from vidtldr.video.sampling import Sampling
from vidtldr.video.timeline import build_timeline

_TICK = Fraction(1, 25)


def test_a_constant_rate_gives_even_times() -> None:
    timeline = build_timeline([0, 1, 2, 3], _TICK, Fraction(25), reorders=True)
    assert timeline.order == (0, 1, 2, 3)
    assert timeline.times == (0, _TICK, 2 * _TICK, 3 * _TICK)
    assert timeline.duration_seconds == 0.16
    assert timeline.is_ordered


def test_timestamps_decide_only_where_the_codec_knows_no_order() -> None:
    intra = build_timeline([0, 3, 1, 2], _TICK, None, reorders=False)
    assert intra.order == (0, 2, 3, 1)
    assert intra.is_ordered
    inter = build_timeline([0, 3, 1, 2], _TICK, None, reorders=True)
    assert inter.order == (0, 1, 2, 3)
    assert not inter.is_ordered
    assert inter.times == (None,) * 4


def test_missing_timestamps_stay_missing() -> None:
    timeline = build_timeline([0, None, 2], _TICK, Fraction(25), reorders=True)
    assert timeline.times == (0, None, 2 * _TICK)
    assert timeline.duration_seconds == 0.12


def test_a_video_ends_when_its_last_frame_does() -> None:
    def seconds(pts: list[int], durations: dict[int, int], limit: float | None = None) -> float:
        found = build_timeline(pts, Fraction(1, 10), None, True, limit, durations).duration_seconds
        assert found is not None
        return found

    assert seconds([0, 1, 2], {2: 600}) == 60.2
    assert seconds([0, 600, 700], {0: 600, 600: 100, 700: 100}) == 80
    assert seconds([0, 600, 700], {}) == 80  # the shorter of its two steps, not their mean
    assert seconds([5], {5: 30}) == 3
    assert seconds([0, 1, 2], {2: 600}, limit=30) == 0.2  # the last frame ends too late
    assert seconds([0, 1, 2], {2: 600}, limit=61) == 60.2


def test_times_that_contradict_the_order_still_say_how_long_it_is() -> None:
    timeline = build_timeline([0, 3, 1, 2], _TICK, Fraction(600), reorders=True)
    assert timeline.duration_seconds == 0.16
    assert timeline.starts == (0, _TICK, 2 * _TICK, 3 * _TICK)


def write_uneven(path: Path, starts_ms: list[int], last_ms: int) -> Path:
    """A screen recording: every picture stays until the next one comes."""
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=1000, options={"bf": "0"})
        stream.width, stream.height, stream.pix_fmt = 146, 38, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        packets = []
        for number, start in enumerate(starts_ms):
            frame = numbered(number)
            frame.pts, frame.time_base = start, Fraction(1, 1000)
            packets += stream.encode(frame)
        packets += stream.encode()
        ends = [*starts_ms[1:], starts_ms[-1] + last_ms]
        for packet, start, end in zip(packets, starts_ms, ends, strict=True):
            packet.duration = end - start
            out.mux(packet)
    return path


@pytest.mark.parametrize("name", ["film.mp4", "film.mov"])
@pytest.mark.parametrize(
    ("starts_ms", "last_ms", "seconds"),
    [
        ([100 * number for number in range(31)], 60_000, 63),  # a still at the end
        ([0, 60_000, 70_000], 10_000, 80),  # slides
        ([*range(0, 1600, 100), *range(60_000, 61_600, 100)], 100, 61.6),  # a pause
        ([0, 100], 20_000, 20.1),
        ([0], 5_000, 5),
    ],
)
def test_a_variable_rate_is_no_damage(
    name: str, starts_ms: list[int], last_ms: int, seconds: float, tmp_path: Path
) -> None:
    clip = read_clip(write_uneven(tmp_path / name, starts_ms, last_ms), Sampling(1))
    assert clip.duration_seconds == seconds
    assert clip.notes == ()


@pytest.mark.parametrize("b_frames", ["0", "2"])
def test_h264_copied_into_avi_is_as_long_as_before(b_frames: str, tmp_path: Path) -> None:
    """Its header counts ticks, many of them without a frame."""
    source = write_film(tmp_path / "film.ts", 64, options={"bf": b_frames, "g": "12"})
    path = tmp_path / "film.avi"
    with av.open(str(source)) as read, av.open(str(path), "w") as out:
        stream = out.add_stream_from_template(read.streams.video[0])
        for packet in read.demux(video=0):
            if packet.size:
                packet.stream = stream
                out.mux(packet)
    clip = read_clip(path, Sampling(4))
    assert clip.duration_seconds == pytest.approx(64 / 25, rel=0.05)
    assert not any("decoded" in note or "early" in note for note in clip.notes)


def test_sound_that_is_longer_is_not_called_an_early_end(tmp_path: Path) -> None:
    path = tmp_path / "film.flv"  # its header has one duration for all streams
    with av.open(str(path), "w") as out:
        pictures = out.add_stream("flv", rate=25)
        pictures.width, pictures.height, pictures.pix_fmt = 146, 38, "yuv420p"
        sound = out.add_stream("pcm_s16le", rate=11025, layout="mono")
        for number in range(25):
            frame = numbered(number)
            frame.pts = number
            out.mux(pictures.encode(frame))
        out.mux(pictures.encode())
        for second in range(4):
            silence = av.AudioFrame(format="s16", layout="mono", samples=11025)
            silence.sample_rate, silence.pts = 11025, 11025 * second
            out.mux(sound.encode(silence))
    [note] = read_clip(path, Sampling(4)).notes
    assert note.endswith(
        "seconds of its longest stream: the sound is longer, or the file ends early"
    )


def test_nothing_known_gives_no_duration() -> None:
    timeline = build_timeline([None, None], _TICK, None, reorders=True)
    assert timeline.duration_seconds is None


def num_within(
    pts: Sequence[int | None], tick: Fraction, seconds: float, rate: Fraction | None = None
) -> int:
    return len(build_timeline(pts, tick, rate, True, max_seconds=seconds).order)


@pytest.mark.parametrize("rate", [Fraction(25), Fraction(30000, 1001), Fraction(12)])
@pytest.mark.parametrize("seconds", [0.5, 1.0, 2.5, 30])
def test_a_cut_keeps_floor_of_seconds_times_rate(rate: Fraction, seconds: float) -> None:
    assert num_within(range(9, 1009), 1 / rate, seconds) == int(Fraction(seconds) * rate)
    assert num_within([None] * 1000, _TICK, seconds, rate) == int(Fraction(seconds) * rate)


def test_a_cut_keeps_at_least_one_frame_and_at_most_all() -> None:
    one = Fraction(1)
    assert num_within([0, 5], one, 0.1) == 1
    assert num_within([0, 5], one, 10) == 2
    assert num_within([0], one, 0.1) == 1
    assert num_within([], one, 1) == 0


def test_an_uneven_rate_is_cut_by_time() -> None:
    pts = [0, 1, 2, 9, 10]
    assert num_within(pts, Fraction(1), 2) == 2
    assert num_within(pts, Fraction(1), 9) == 3


def test_a_cut_needs_times_or_a_rate() -> None:
    with pytest.raises(ValueError, match="neither timestamps nor a frame rate"):
        num_within([None, None], _TICK, 1)
