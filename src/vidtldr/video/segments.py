"""Cut a long video into segments and sample each, in one pass over the file.

Letters: `T` frames of a segment, `H` and `W` the upright picture.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

from torch import Tensor

from vidtldr.video.deadline import StopFlag
from vidtldr.video.frames import Decoding, Scan, keep_frame, scan_packets, walk_frames
from vidtldr.video.local_file import video_error
from vidtldr.video.notes import describe
from vidtldr.video.sampling import Sampling
from vidtldr.video.timeline import Timeline, build_timeline

__all__ = ["Cut", "Segment", "SegmentReader", "cut_timeline"]

# 0.1 seconds are a tenth, and not the binary number next to it: a frame at 0.3 opens the fourth.
_MAX_DENOMINATOR = 1_000_000


@dataclass(frozen=True)
class Cut:
    """A stretch of a video.

    Attributes:
        start_seconds: Its start, from the first frame of the video on.
        end_seconds: Its end.
        positions: Position in the decoder's output of each of its frames, in display order.
    """

    start_seconds: float
    end_seconds: float
    positions: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Segment:
    """The sampled frames of a stretch of a video: uint8 RGB, shape (T, H, W, 3), upright."""

    start_seconds: float
    end_seconds: float
    frames: Tensor


def cut_timeline(
    timeline: Timeline, average_rate: Fraction | None, segment_seconds: float
) -> list[Cut]:
    """Cut a video into stretches of equal length.

    A rest of less than half a segment belongs to the last one, which may so be up to one and a
    half long. A stretch in which no frame begins is left out.

    Args:
        timeline: The frames in display order.
        average_rate: Frames a second; gives the times where the file has none to believe.
        segment_seconds: Length of a segment, above 0.

    Raises:
        ValueError: If neither times nor a rate are known.
    """
    times = _times(timeline, average_rate)
    step = Fraction(segment_seconds).limit_denominator(_MAX_DENOMINATOR)
    duration = timeline.duration_seconds or 0.0
    duration = max(duration, float(times[-1])) if times else duration
    num_segments = max(1, math.floor(duration / segment_seconds + 0.5))
    positions: list[list[int]] = [[] for _ in range(num_segments)]
    for position, time in zip(timeline.order, times, strict=True):
        positions[min(int(time / step), num_segments - 1)].append(position)
    return [
        Cut(
            float(number * step),
            duration if number == num_segments - 1 else float((number + 1) * step),
            tuple(inside),
        )
        for number, inside in enumerate(positions)
        if inside
    ]


class SegmentReader:
    """Reads the segments of one file as they are decoded; two of them are in memory at most.

    The packets say which frames there will be. Each frame that is decoded is compared with that,
    and a segment is given once the frames up to half a segment behind it are as foretold. Where a
    damaged file gives others, it is walked to its end, cut anew, and what is still missing decoded
    a second time: every frame lies in the segment to which its time belongs. Where the damage makes
    the times contradict the order, the frame rate gives the times of what was not given before.

    Args:
        path: A regular local file.
        sampling: How many frames of each segment, and which.
        segment_seconds: Length of a segment, above 0.
        stop: Checked for every packet and frame.

    Attributes:
        codec: FFmpeg's name of the codec.
        notes: Everything unusual about the file; complete after the last segment.
    """

    def __init__(
        self, path: str, sampling: Sampling, segment_seconds: float, stop: StopFlag
    ) -> None:
        if not 0 < segment_seconds < math.inf:
            raise ValueError(
                f"segment_seconds must be above 0 and finite, got {segment_seconds!r}. Pass 10."
            )
        self.path, self.sampling, self.stop = path, sampling, stop
        self.segment_seconds = segment_seconds
        self.notes: tuple[str, ...] = ()
        self._scan = scan_packets(path, stop)
        self.codec = self._scan.codec
        self._num_given = 0

    def __iter__(self) -> Iterator[Segment]:
        """Read the segments in order.

        Raises:
            VideoError: If nothing can be decoded, or the file cannot be cut.
        """
        expected = self._scan.expected_pts()
        decoding = Decoding()
        if expected:
            yield from self._walk(expected, decoding)
        else:
            for _ in walk_frames(self.path, self.stop, decoding):
                pass
        if not decoding.pts:
            raise video_error(
                self.path, "not one frame of it can be decoded", "The file is damaged: get another."
            )
        timeline = self._timeline(decoding.pts)
        if decoding.pts != expected:
            again = Decoding()
            yield from self._walk(decoding.pts, again)
            if again.pts != decoding.pts:
                raise video_error(
                    self.path, "it decodes differently each time", "It may be being written."
                )
        self.notes = describe(self._scan, decoding, timeline, self.sampling)

    def _timeline(self, pts: Sequence[int | None]) -> Timeline:
        scan: Scan = self._scan
        return build_timeline(pts, scan.time_base, scan.average_rate, scan.reorders)

    def _walk(self, expected: Sequence[int | None], decoding: Decoding) -> Iterator[Segment]:
        """Give what `expected` says from the first segment that was not given, while it is true."""
        timeline = self._timeline(expected)
        try:
            cuts = cut_timeline(timeline, self._scan.average_rate, self.segment_seconds)
        except ValueError as error:
            raise video_error(
                self.path, f"it cannot be cut, as {error}", "Index it whole."
            ) from error
        frames = _Frames(cuts, self.sampling, self._num_given)
        safe_at = _safe_positions(cuts, len(expected))
        true_so_far = True
        for frame in walk_frames(self.path, self.stop, decoding):
            position = len(decoding.pts) - 1
            true_so_far &= position < len(expected) and frame.pts == expected[position]
            if true_so_far:
                frames.keep(frame, position)
                while self._num_given < len(cuts) and safe_at[self._num_given] <= position:
                    yield frames.take(self._num_given)
                    self._num_given += 1
        if true_so_far and len(decoding.pts) == len(expected):
            while self._num_given < len(cuts):
                yield frames.take(self._num_given)
                self._num_given += 1


class _Frames:
    """The wanted frames of the segments that are not complete yet."""

    def __init__(self, cuts: Sequence[Cut], sampling: Sampling, first: int) -> None:
        self._cuts, self._num_frames = cuts, sampling.num_frames
        self._places: dict[int, dict[int, list[int]]] = {}
        self._open: dict[int, Decoding] = {}
        for number, cut in enumerate(cuts[first:], start=first):
            for slot, index in enumerate(sampling.indices(len(cut.positions))):
                wanted = self._places.setdefault(cut.positions[index], {})
                wanted.setdefault(number, []).append(slot)

    def keep(self, frame: object, position: int) -> None:
        for number, slots in self._places.get(position, {}).items():
            segment = self._open.setdefault(number, Decoding())
            keep_frame(frame, slots, self._num_frames, segment)

    def take(self, number: int) -> Segment:
        frames = self._open.pop(number).frames
        assert frames is not None  # every position of a cut was met
        cut = self._cuts[number]
        return Segment(cut.start_seconds, cut.end_seconds, frames)


def _safe_positions(cuts: Sequence[Cut], num_expected: int) -> list[int]:
    """For each segment the position from which on no later surprise can change it."""
    safe = []
    for number, cut in enumerate(cuts):
        later = [
            position
            for other in cuts[number + 1 : number + 2]
            for position in other.positions[len(other.positions) // 2 :][:1]
        ]
        own = max(cut.positions) + 1
        safe.append(max([own, *later]) + 1 if later else num_expected + 1)
    return safe


def _times(timeline: Timeline, average_rate: Fraction | None) -> list[Fraction]:
    """Time of each frame from the first on, in seconds."""
    known = [time for time in timeline.times if time is not None]
    if len(known) == len(timeline.times):
        return [time - known[0] for time in known]
    if not average_rate:
        raise ValueError("neither timestamps nor a frame rate are known")
    return [index / average_rate for index in range(len(timeline.times))]
