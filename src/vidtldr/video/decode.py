"""Read the frames of a clip from a video file, exactly.

Letters: `T` frames, `H` and `W` the upright picture.
"""

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from vidtldr.video.deadline import OverTimeError, StopFlag, run_within
from vidtldr.video.frames import Decoding, Scan, decode_frames, scan_packets
from vidtldr.video.local_file import VideoError, video_error
from vidtldr.video.notes import describe
from vidtldr.video.sampling import Sampling
from vidtldr.video.seeking import decode_stretches, plan_stretches
from vidtldr.video.timeline import Timeline, build_timeline

__all__ = ["Clip", "VideoError", "read_clip"]


@dataclass(frozen=True, eq=False)
class Clip:
    """Frames of one video. Two clips are equal only if they are the same object.

    Attributes:
        path: The file, as it was given.
        frames: uint8 RGB, shape (T, H, W, 3), upright, in display order.
        indices: For each frame its number in display order, counted from 0 over the frames that
            decode.
        timestamps_seconds: For each frame its time on the file's clock; None where the file gives
            none that can be believed.
        num_frames_in_file: Frames that were sampled from: all that decode, or with `max_seconds`
            those within it.
        duration_seconds: Time that these frames cover; None if unknown.
        codec: FFmpeg's name of the codec, such as "h264".
        notes: Everything unusual that was found or done, a sentence each; empty for most files.
    """

    path: str
    frames: Tensor
    indices: tuple[int, ...]
    timestamps_seconds: tuple[float | None, ...]
    num_frames_in_file: int
    duration_seconds: float | None
    codec: str
    notes: tuple[str, ...]


def read_clip(
    path: str | os.PathLike[str],
    sampling: Sampling,
    *,
    max_seconds: float | None = None,
    time_limit_seconds: float = 120.0,
    seeks: bool = False,
) -> Clip:
    """Read the frames that `sampling` picks from a local video file.

    Indices count the frames that really decode, in display order. The whole file is decoded, from
    the start and in one thread, and only picked frames are kept. The result is the same every run
    and on every machine. Seeking is quicker in long files, but takes it from the packets how many
    frames there are: a healthy file gives the same clip, and damage between the picked frames goes
    unseen. Frames of a damaged file are used as far as FFmpeg can restore them, and `notes` says
    so; no frame is ever taken from anywhere else.

    Args:
        path: A regular local file of any kind that FFmpeg knows.
        sampling: How many frames, and which.
        max_seconds: Use only the frames that end within the first so many seconds, above 0; None
            or infinity uses all. At a constant rate these are floor(max_seconds * rate) frames.
        time_limit_seconds: Give up after so many seconds, above 0. A decoder that hangs is left
            behind in a daemon thread.
        seeks: Decode only from the keyframe before each picked frame where that saves work and
            what is met is what the packets promise; else the whole file all the same.

    Returns:
        The clip, `sampling.num_frames` frames.

    Raises:
        VideoError: If this is not a local regular file, nothing in it can be decoded, or the time
            is over.
        ValueError: If a limit is not above 0.
        TypeError: If `path` is not a string or path.
    """
    name = _validate_path(path)
    _validate_positive("time_limit_seconds", time_limit_seconds)
    if max_seconds is not None:
        _validate_positive("max_seconds", max_seconds)
        if max_seconds == math.inf:
            max_seconds = None
    try:
        return run_within(
            time_limit_seconds, lambda stop: _read(name, sampling, max_seconds, stop, seeks)
        )
    except OverTimeError:
        raise video_error(
            name,
            f"reading took longer than {time_limit_seconds:g} seconds",
            "Raise time_limit_seconds for a long video; else the file or its disk hangs.",
        ) from None


def _read(
    name: str, sampling: Sampling, max_seconds: float | None, stop: StopFlag, seeks: bool
) -> Clip:
    scan = scan_packets(name, stop)
    promised = _timeline(name, scan, scan.expected_pts(), max_seconds)
    positions = sampling.indices(max(1, len(promised.order)))
    stretches = plan_stretches(scan, positions) if seeks else ()
    found = decode_stretches(name, scan, stretches, positions, stop) if stretches else None
    if found is not None:
        return _clip(name, scan, found, promised, sampling, positions, max_seconds)
    return _read_whole(name, scan, sampling, positions, max_seconds, stop)


def _read_whole(
    name: str,
    scan: Scan,
    sampling: Sampling,
    positions: Sequence[int],
    max_seconds: float | None,
    stop: StopFlag,
) -> Clip:
    """Decode all, and a second time if the promised `positions` were not the true ones."""
    last_tick = scan.last_tick(max_seconds)
    decoding = decode_frames(name, positions, stop, last_tick)
    if not decoding.pts:
        raise video_error(
            name, "not one frame of it can be decoded", "The file is damaged: get another copy."
        )
    timeline = _timeline(name, scan, decoding.pts, max_seconds)
    indices = sampling.indices(len(timeline.order))
    found = [timeline.order[index] for index in indices]
    if found != positions:
        decoding = _decode_again(name, found, stop, last_tick, decoding)
    return _clip(name, scan, decoding, timeline, sampling, indices, max_seconds)


def _decode_again(
    name: str, positions: Sequence[int], stop: StopFlag, last_tick: int | None, before: Decoding
) -> Decoding:
    """Decode once more, now that the true count and order are known."""
    before.frames = None
    decoding = decode_frames(name, positions, stop, last_tick)
    if decoding.pts != before.pts:
        raise video_error(
            name, "it decodes differently each time", "The file may be being written: try later."
        )
    return decoding


def _timeline(
    name: str, scan: Scan, pts: Sequence[int | None], max_seconds: float | None
) -> Timeline:
    try:
        return build_timeline(pts, scan.time_base, scan.average_rate, scan.reorders, max_seconds)
    except ValueError as error:
        raise video_error(
            name, f"it cannot be cut at {max_seconds} seconds, as {error}", "Drop max_seconds."
        ) from error


def _clip(
    name: str,
    scan: Scan,
    decoding: Decoding,
    timeline: Timeline,
    sampling: Sampling,
    indices: list[int],
    max_seconds: float | None,
) -> Clip:
    assert decoding.frames is not None  # every position lies within what was decoded
    times = [timeline.times[index] for index in indices]
    return Clip(
        path=name,
        frames=decoding.frames,
        indices=tuple(indices),
        timestamps_seconds=tuple(None if time is None else float(time) for time in times),
        num_frames_in_file=len(timeline.order),
        duration_seconds=timeline.duration_seconds,
        codec=scan.codec,
        notes=describe(scan, decoding, timeline, sampling, max_seconds),
    )


def _validate_path(path: str | os.PathLike[str]) -> str:
    name = os.fspath(path)
    if not isinstance(name, str):
        raise TypeError(f"path must be a string or a path, got {path!r}. Decode the bytes first.")
    return name


def _validate_positive(name: str, value: float) -> None:
    if not value > 0:
        raise ValueError(f"{name} must be above 0 seconds, got {value!r}. Pass more, or leave it.")
