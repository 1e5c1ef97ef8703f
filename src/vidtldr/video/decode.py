"""Read the frames of a clip from a video file, exactly.

Letters: `T` frames, `H` and `W` the upright picture.
"""

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from vidtldr.video.deadline import OverTimeError, StopFlag, run_within
from vidtldr.video.frames import Decoding, Picture, Scan, View, decode_frames, scan_packets
from vidtldr.video.local_file import VideoError, video_error, video_errors
from vidtldr.video.notes import describe
from vidtldr.video.seeking import decode_stretches, plan_stretches
from vidtldr.video.timeline import Timeline, build_timeline
from vidtldr.video.transform import VideoTransform
from vidtldr.video.view_sampling import AnySampling

__all__ = ["Clip", "VideoError", "nothing_decoded", "over_time", "read_clip"]


@dataclass(frozen=True, eq=False)
class Clip:
    """Frames of one video. Two clips are equal only if they are the same object.

    Attributes:
        path: The file, as given.
        frames: uint8 RGB, shape (T, H, W, 3), upright, in display order; if it was read with a
            transform, resized and cropped by it, shape (T, 3, h, w).
        indices: Index of each frame in display order, counted from 0 over the frames that decode.
        timestamps_seconds: Time of each frame on the file's clock; None if the file gives no
            reliable one.
        num_frames_in_file: Frames that were sampled from: all that decode, or with `max_seconds`
            those within it.
        duration_seconds: Time that these frames cover; None if unknown.
        codec: FFmpeg's name of the codec, such as "h264".
        notes: Everything unusual that was found or done, one sentence each; empty for most files.
        size: (H, W) of the upright pictures, before any transform.
        transform: What resized and cropped the frames; None if they are as decoded.
        views: What `view` of `read_clip` made of each frame; empty without one.
    """

    path: str
    frames: Tensor
    indices: tuple[int, ...]
    timestamps_seconds: tuple[float | None, ...]
    num_frames_in_file: int
    duration_seconds: float | None
    codec: str
    notes: tuple[str, ...]
    size: tuple[int, int]
    transform: VideoTransform | None = None
    views: tuple[Picture, ...] = ()


def read_clip(
    path: str | os.PathLike[str],
    sampling: AnySampling,
    *,
    max_seconds: float | None = None,
    time_limit_seconds: float = 120.0,
    seeks: bool = True,
    transform: VideoTransform | None = None,
    view: View | None = None,
) -> Clip:
    """Read the frames that `sampling` picks from a local video file.

    Indices count the frames that decode, in display order. Each picked frame is decoded from the
    keyframe before it, in one thread; where that is not exact or saves no work, the whole file is
    decoded. An intact file gives the same clip either way, on every run and machine, but seeking
    does not see damage between the picked frames. Frames of a damaged file are used as far as
    FFmpeg can restore them, and `notes` says so; a frame is never taken from anywhere else.

    Args:
        path: A regular local file in any format that FFmpeg knows.
        sampling: How many frames to read, and which; of a `SegmentSampling`, those of all segments.
        max_seconds: Use only the frames that end within the first `max_seconds`, above 0; None or
            infinity uses all. At a constant rate these are floor(max_seconds * rate) frames.
        time_limit_seconds: Time limit, above 0. A decoder that hangs is abandoned in a daemon
            thread.
        seeks: Whether to seek. False always decodes the whole file, so that all of its damage is
            noticed.
        transform: Resizes and crops each frame as it is decoded, so that a clip of large pictures
            takes little memory; `VideoTransform.normalised` does the rest. None keeps the frames as
            they are.
        view: Makes a picture to look at of each frame as decoded, uint8 RGB, shape (H, W, 3), which
            `Clip.views` keeps; None makes none.

    Returns:
        The clip, with `sampling.num_frames` frames for each segment.

    Raises:
        VideoError: If this is not a local regular file, nothing in it can be decoded, the time
            limit is reached, its pictures are too large for the memory, for `MAX_PICTURE_PIXELS` or
            too small for the transform's crop. No other error of reading gets through.
        ValueError: If a limit is not above 0.
        TypeError: If `path` is not a string or path.
    """
    name = _validate_path(path)
    _validate_positive("time_limit_seconds", time_limit_seconds)
    if max_seconds is not None:
        _validate_positive("max_seconds", max_seconds)
        if max_seconds == math.inf:
            max_seconds = None
    reading = _Reading(name, sampling, max_seconds, transform, view)
    try:
        with video_errors(name):
            return run_within(time_limit_seconds, lambda stop: reading.read(stop, seeks))
    except OverTimeError:
        raise over_time(name, time_limit_seconds) from None


def over_time(path: str, time_limit_seconds: float) -> VideoError:
    """Make the error of a file, or a segment of it, that took too long to read."""
    return video_error(
        path,
        f"reading took longer than {time_limit_seconds:g} seconds",
        "Raise time_limit_seconds (--time-limit) for a long video; otherwise the file or its disk "
        "hangs.",
    )


def nothing_decoded(path: str, scan: Scan) -> VideoError:
    """Make the error of a file of which no frame can be decoded."""
    if 0 in scan.stream_size:
        return video_error(
            path,
            "FFmpeg does not accept the size of its pictures",
            "They are too large, or the file is damaged.",
        )
    return video_error(
        path, "not one frame of it can be decoded", "The file is damaged: get another copy."
    )


@dataclass(frozen=True)
class _Reading:
    """What to read of which file."""

    path: str
    sampling: AnySampling
    max_seconds: float | None
    transform: VideoTransform | None
    view: View | None

    def read(self, stop: StopFlag, seeks: bool) -> Clip:
        scan = scan_packets(self.path, stop)
        promised = self._timeline(scan, scan.expected_pts())
        positions = self.sampling.indices(max(1, len(promised.order)))
        stretches = plan_stretches(scan, positions) if seeks else ()
        if stretches:
            found = decode_stretches(
                self.path, scan, stretches, positions, stop, self.transform, self.view
            )
            if found is not None:
                return self._clip(scan, found, promised, positions)
        return self._read_whole(scan, positions, stop)

    def _read_whole(self, scan: Scan, positions: Sequence[int], stop: StopFlag) -> Clip:
        """Decode the whole file, twice if the promised `positions` turn out to be wrong."""
        last_tick = scan.last_tick(self.max_seconds)
        decoding = decode_frames(self.path, positions, stop, last_tick, self.transform, self.view)
        if not decoding.pts:
            raise nothing_decoded(self.path, scan)
        timeline = self._timeline(scan, decoding.pts)
        indices = self.sampling.indices(len(timeline.order))
        found = [timeline.order[index] for index in indices]
        if found != positions:
            decoding = self._decode_again(found, stop, last_tick, decoding)
        return self._clip(scan, decoding, timeline, indices)

    def _decode_again(
        self, positions: Sequence[int], stop: StopFlag, last_tick: int | None, before: Decoding
    ) -> Decoding:
        """Decode again, now that the true frame count and order are known."""
        before.frames = None
        decoding = decode_frames(self.path, positions, stop, last_tick, self.transform, self.view)
        if decoding.pts != before.pts:
            raise video_error(
                self.path,
                "it decodes differently each time",
                "The file may be being written: try later.",
            )
        return decoding

    def _timeline(self, scan: Scan, pts: Sequence[int | None]) -> Timeline:
        try:
            return build_timeline(
                pts,
                scan.time_base,
                scan.average_rate,
                scan.reorders,
                self.max_seconds,
                scan.durations,
            )
        except ValueError as error:
            raise video_error(
                self.path,
                f"it cannot be cut at {self.max_seconds} seconds, as {error}",
                "Drop max_seconds.",
            ) from error

    def _clip(
        self, scan: Scan, decoding: Decoding, timeline: Timeline, indices: Sequence[int]
    ) -> Clip:
        # Every position lies within what was decoded.
        assert decoding.frames is not None
        assert decoding.size is not None
        times = [timeline.times[index] for index in indices]
        return Clip(
            path=self.path,
            frames=decoding.frames,
            indices=tuple(indices),
            timestamps_seconds=tuple(None if time is None else float(time) for time in times),
            num_frames_in_file=len(timeline.order),
            duration_seconds=timeline.duration_seconds,
            codec=scan.codec,
            notes=describe(scan, decoding, timeline, self.sampling, self.max_seconds),
            size=decoding.size,
            transform=self.transform,
            views=tuple(decoding.views[slot] for slot in sorted(decoding.views)),
        )


def _validate_path(path: str | os.PathLike[str]) -> str:
    name = os.fspath(path)
    if not isinstance(name, str):
        raise TypeError(f"path must be a string or a path, got {path!r}. Decode the bytes first.")
    return name


def _validate_positive(name: str, value: float) -> None:
    if not value > 0:
        raise ValueError(f"{name} must be above 0 seconds, got {value!r}. Pass more, or leave it.")
