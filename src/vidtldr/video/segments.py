"""Cut a long video into segments and sample each, in one pass over an intact file.

Letters: `T` frames of a segment, `H` and `W` the upright picture.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

from torch import Tensor

from vidtldr.video.deadline import StopFlag
from vidtldr.video.decode import nothing_decoded
from vidtldr.video.frames import Decoding, Scan, Seen, keep_frame, scan_packets, walk_frames
from vidtldr.video.local_file import video_error, video_errors
from vidtldr.video.notes import describe
from vidtldr.video.sampling import Sampling
from vidtldr.video.timeline import Timeline, build_timeline
from vidtldr.video.transform import VideoTransform

__all__ = ["Cut", "Segment", "SegmentReader", "cut_timeline"]

# 0.1 s means exactly a tenth, not the nearest binary float: a frame at 0.3 s opens the 4th segment.
_MAX_DENOMINATOR = 1_000_000
_SHORTEST_SECONDS = 0.001


@dataclass(frozen=True)
class Cut:
    """The extent of a segment.

    Attributes:
        start_seconds: Its start, counted from the first frame of the video.
        end_seconds: Its end.
        positions: Position in the decoder's output of each of its frames, in display order.
    """

    start_seconds: float
    end_seconds: float
    positions: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Segment:
    """The sampled frames of a segment: `frames` and `size` as in `Clip`."""

    start_seconds: float
    end_seconds: float
    frames: Tensor
    size: tuple[int, int]


def cut_timeline(timeline: Timeline, segment_seconds: float) -> list[Cut]:
    """Cut a video into segments of equal length.

    A remainder shorter than half a segment is added to the last one, which may thus be up to one
    and a half segments long. A segment in which no frame begins is left out, so a gap of years
    costs nothing.

    Args:
        timeline: The frames in display order.
        segment_seconds: Length of a segment, at least 0.001.

    Raises:
        ValueError: If neither times nor a rate are known.
    """
    if timeline.starts is None:
        raise ValueError("neither timestamps nor a frame rate are known")
    step = Fraction(segment_seconds).limit_denominator(_MAX_DENOMINATOR)
    duration = timeline.duration_seconds or 0.0
    last = max(1, math.floor(duration / segment_seconds + 0.5)) - 1
    positions: dict[int, list[int]] = {}
    for position, start in zip(timeline.order, timeline.starts, strict=True):
        positions.setdefault(min(int(start / step), last), []).append(position)
    return [
        Cut(
            float(number * step),
            duration if number == last else float((number + 1) * step),
            tuple(inside),
        )
        for number, inside in positions.items()
    ]


class SegmentReader:
    """Reads the segments of one file as they are decoded; at most two are in memory.

    The packets promise which frames will come. Each decoded frame is compared with that, and a
    segment is yielded once the frames up to half a segment past it match. If a damaged file gives
    other frames, it is decoded to its end and cut again, and the segments not yet yielded are
    decoded a second time, so that every frame is in the segment its time belongs to. If the damage
    makes the times contradict the order, those segments are timed by the frame rate.

    Args:
        path: A regular local file.
        sampling: How many frames of each segment, and which.
        segment_seconds: Length of a segment, at least 0.001.
        stop: Checked for every packet and frame.
        transform: As in `read_clip`.

    Attributes:
        codec: FFmpeg's name of the codec.
        notes: Everything unusual about the file; complete after the last segment.
    """

    def __init__(
        self,
        path: str,
        sampling: Sampling,
        segment_seconds: float,
        stop: StopFlag,
        transform: VideoTransform | None = None,
    ) -> None:
        if not _SHORTEST_SECONDS <= segment_seconds < math.inf:
            raise ValueError(
                f"segment_seconds must be at least {_SHORTEST_SECONDS} and finite, got "
                f"{segment_seconds!r}. Pass 10."
            )
        self.path, self.sampling, self.stop = path, sampling, stop
        self.segment_seconds, self.transform = segment_seconds, transform
        self.notes: tuple[str, ...] = ()
        with video_errors(path):
            self._scan = scan_packets(path, stop)
        self.codec = self._scan.codec
        self._cuts: Sequence[Cut] = ()
        self._num_given = 0

    def __iter__(self) -> Iterator[Segment]:
        """Read the segments in order.

        Raises:
            VideoError: If nothing can be decoded, the file cannot be cut, or as in `read_clip`.
        """
        with video_errors(self.path):
            yield from self._segments()

    def _segments(self) -> Iterator[Segment]:
        expected = self._scan.expected_pts()
        decoding = Decoding()
        if expected:
            yield from self._walk(expected, decoding)
        else:
            for _ in walk_frames(self.path, self.stop, decoding):
                pass
        if not decoding.pts:
            raise nothing_decoded(self.path, self._scan)
        timeline = self._timeline(decoding.pts)
        if decoding.pts != expected:
            again = Decoding(seen=decoding.seen)
            yield from self._walk(decoding.pts, again)
            if again.pts != decoding.pts:
                raise video_error(
                    self.path, "it decodes differently each time", "It may be being written."
                )
        notes = describe(self._scan, decoding, timeline, self.sampling)
        self.notes = (*notes, *self._note_on_repeats())

    def _note_on_repeats(self) -> list[str]:
        cuts = self._cuts
        num_short = sum(self.sampling.num_repeats(len(cut.positions)) > 0 for cut in cuts)
        if len(cuts) < 2 or not num_short:
            return []
        return [f"too short: in {num_short} of {len(cuts)} segments the last frame is repeated"]

    def _timeline(self, pts: Sequence[int | None]) -> Timeline:
        scan: Scan = self._scan
        return build_timeline(
            pts, scan.time_base, scan.average_rate, scan.reorders, durations=scan.durations
        )

    def _walk(self, expected: Sequence[int | None], decoding: Decoding) -> Iterator[Segment]:
        """Yield the segments not yet yielded, as long as decoding matches `expected`."""
        timeline = self._timeline(expected)
        try:
            cuts = cut_timeline(timeline, self.segment_seconds)
        except ValueError as error:
            raise video_error(
                self.path, f"it cannot be cut, as {error}", "Index it whole."
            ) from error
        self._cuts = cuts
        frames = _Frames(cuts, self.sampling, self._num_given, self.transform, decoding.seen)
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
    """The wanted frames of the segments that are not yet complete."""

    def __init__(
        self,
        cuts: Sequence[Cut],
        sampling: Sampling,
        first: int,
        transform: VideoTransform | None,
        seen: Seen,
    ) -> None:
        self._cuts, self._num_frames, self._transform = cuts, sampling.num_frames, transform
        self._seen = seen
        self._places: dict[int, dict[int, list[int]]] = {}
        self._open: dict[int, Decoding] = {}
        for number, cut in enumerate(cuts[first:], start=first):
            for slot, index in enumerate(sampling.indices(len(cut.positions))):
                wanted = self._places.setdefault(cut.positions[index], {})
                wanted.setdefault(number, []).append(slot)

    def keep(self, frame: object, position: int) -> None:
        for number, slots in self._places.get(position, {}).items():
            segment = self._open.setdefault(number, Decoding(seen=self._seen))
            keep_frame(frame, slots, self._num_frames, segment, self._transform)

    def take(self, number: int) -> Segment:
        found = self._open.pop(number)
        # Every position of a cut was decoded.
        assert found.frames is not None
        assert found.size is not None
        cut = self._cuts[number]
        return Segment(cut.start_seconds, cut.end_seconds, found.frames, found.size)


def _safe_positions(cuts: Sequence[Cut], num_expected: int) -> list[int]:
    """For each segment, the position from which no later mismatch can change it."""
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
