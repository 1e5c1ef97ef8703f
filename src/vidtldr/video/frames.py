"""Two passes over a video file: over its packets, and over its decoded frames.

Letters: `T` frames, `H` and `W` the upright picture.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vidtldr.video.deadline import StopFlag
from vidtldr.video.local_file import PictureError, open_video, validate_num_pixels
from vidtldr.video.picture import is_transparent, upright_picture, upright_size
from vidtldr.video.transform import VideoTransform

__all__ = [
    "Decoding",
    "Picture",
    "Scan",
    "Seen",
    "View",
    "decode_frames",
    "every_frame",
    "keep_frame",
    "packets_of",
    "scan_packets",
    "walk_frames",
]

#: uint8 RGB, shape (H, W, 3).
Picture = NDArray[np.uint8]
View = Callable[[Picture], Picture]

# A container's timestamps can be a few frames out of order: decode this far past a time limit.
_SLACK_SECONDS = 1

# Formats without a duration in their header, for which FFmpeg guesses one: no_timestamps (raw
# streams), ts_discont (MPEG-TS and -PS).
_FLAGS_WITHOUT_DURATION = 0x80 | 0x200
_MATROSKA_DURATION = re.compile(r"(\d{1,9}):(\d\d):(\d\d(?:\.\d{1,9})?)", re.ASCII)

# Of all frames of a clip together, in bytes: 3.2 GB, such as 32 frames of 8K at full size.
_MAX_CLIP_BYTES = 3 * 2**30

_HDR_TRANSFERS = {16: "PQ", 18: "HLG"}  # ITU-T H.273, transfer characteristics


@dataclass(frozen=True)
class Scan:
    """What a video file's header and packets say, before anything is decoded.

    Attributes:
        packet_pts: Timestamp of each packet that should become a frame, in file order.
        durations: Duration of the frame at each timestamp, in ticks, where the file says it.
        keyframes: Indices of the packets that a decoder can start from.
        breaks_off: Whether reading ended before the end of the file.
        num_corrupt: Packets that the container marks as damaged.
        num_hidden: Packets that the file's edit list keeps from being shown.
        time_base: Length of a timestamp tick, in seconds.
        average_rate: Frames per second according to the header; None if unknown.
        reorders: Whether the codec itself puts frames in display order.
        num_frames_in_header: 0 if the header does not count them, as in most MKV and WebM.
        header_seconds: Duration of the stream according to the header; None if it says none.
        longest_seconds: Duration of the longest stream according to the header; None if it says
            none.
        pixel_aspect: Width of a pixel divided by its height; None if unknown.
        num_video_streams: Video streams in the file.
        stream_index: Index of the stream that is used.
        stream_size: Width and height of that stream as stored, in pixels.
        codec: FFmpeg's name of its codec, such as "h264".
    """

    packet_pts: tuple[int | None, ...]
    durations: Mapping[int, int]
    keyframes: tuple[int, ...]
    breaks_off: bool
    num_corrupt: int
    num_hidden: int
    time_base: Fraction
    average_rate: Fraction | None
    reorders: bool
    num_frames_in_header: int
    header_seconds: float | None
    longest_seconds: float | None
    pixel_aspect: Fraction | None
    num_video_streams: int
    stream_index: int
    stream_size: tuple[int, int]
    codec: str

    def expected_pts(self) -> list[int | None]:
        """The timestamps in the order in which an intact file would output its frames."""
        if self.reorders and None not in self.packet_pts:
            return sorted(self.packet_pts, key=lambda tick: tick or 0)
        return list(self.packet_pts)

    def position_of(self) -> dict[int, int]:
        """Map each timestamp to its position in display order, if all are present and unique."""
        return {
            tick: position for position, tick in enumerate(self.expected_pts()) if tick is not None
        }

    def last_tick(self, max_seconds: float | None) -> int | None:
        """The timestamp after which no frame is needed for the first `max_seconds`."""
        known = [tick for tick in self.packet_pts if tick is not None]
        if max_seconds is None or not known:
            return None
        return min(known) + int((Fraction(max_seconds) + _SLACK_SECONDS) / self.time_base)


@dataclass
class Seen:
    """What the wanted frames are like.

    Attributes:
        rotations: Rotations that the file asks for, in degrees counterclockwise.
        sizes: Sizes (H, W), before scaling to a common size.
        hdr: Names of their HDR transfer functions.
        num_interlaced: Frames that are stored as two fields.
        num_transparent: Frames with pixels that are not opaque.
    """

    rotations: set[int] = field(default_factory=set)
    sizes: set[tuple[int, int]] = field(default_factory=set)
    hdr: set[str] = field(default_factory=set)
    num_interlaced: int = 0
    num_transparent: int = 0

    def add(self, frame: Any) -> None:
        """Record what is unusual about a frame of PyAV."""
        self.rotations.add(frame.rotation)
        self.sizes.add(upright_size(frame))
        if frame.color_trc in _HDR_TRANSFERS:
            self.hdr.add(_HDR_TRANSFERS[frame.color_trc])
        self.num_interlaced += bool(frame.interlaced_frame)
        self.num_transparent += is_transparent(frame)


@dataclass
class Decoding:
    """Output of a decoder.

    Attributes:
        frames: The wanted frames, uint8 RGB, shape (T, H, W, 3), or (T, 3, h, w) as a transform
            resized them; None until the first is found.
        views: What a function made of each wanted frame, by its slot.
        size: (H, W) of the first wanted frame, to which all are scaled; None until it is found.
        pts: Timestamp of every decoded frame, in the decoder's order.
        breaks_off: Whether reading ended before the end of the file.
        num_errors: Packets that the decoder rejected.
        first_error_at: Frames decoded before the first error.
        num_damaged: Frames that FFmpeg marks as damaged.
        seen: What the wanted frames are like.
    """

    frames: Tensor | None = None
    views: dict[int, Picture] = field(default_factory=dict)
    size: tuple[int, int] | None = None
    pts: list[int | None] = field(default_factory=list)
    breaks_off: bool = False
    num_errors: int = 0
    first_error_at: int = 0
    num_damaged: int = 0
    seen: Seen = field(default_factory=Seen)

    def note_error(self) -> None:
        """Count a packet that could not be decoded."""
        if self.num_errors == 0:
            self.first_error_at = len(self.pts)
        self.num_errors += 1


def scan_packets(path: str, stop: StopFlag) -> Scan:
    """Read the packets without decoding them.

    Raises:
        VideoError: If the file cannot be opened or has no video.
    """
    with open_video(path, stop) as (container, stream):
        shown: list[int | None] = []
        durations: dict[int, int] = {}
        keyframes: list[int] = []
        num_hidden, num_corrupt, result = 0, 0, Decoding()
        for packet in packets_of(container, stream, stop, result):
            if packet.is_discard:
                num_hidden += 1
                continue
            num_corrupt += packet.is_corrupt
            if packet.is_keyframe:
                keyframes.append(len(shown))
            shown.append(packet.pts)
            if packet.pts is not None and (packet.duration or 0) > 0:
                durations[packet.pts] = packet.duration
        return Scan(
            packet_pts=tuple(shown),
            durations=durations,
            keyframes=tuple(keyframes),
            breaks_off=result.breaks_off,
            num_corrupt=num_corrupt,
            num_hidden=num_hidden,
            time_base=stream.time_base,
            average_rate=stream.average_rate or None,
            reorders=bool(stream.codec.reorder),
            num_frames_in_header=stream.frames,
            header_seconds=_header_seconds(container, stream),
            longest_seconds=_longest_seconds(container),
            pixel_aspect=stream.sample_aspect_ratio or None,
            num_video_streams=len(container.streams.video),
            stream_index=stream.index,
            stream_size=(stream.width, stream.height),
            codec=stream.codec.canonical_name,
        )


def decode_frames(
    path: str,
    positions: Sequence[int],
    stop: StopFlag,
    last_tick: int | None = None,
    transform: VideoTransform | None = None,
    view: View | None = None,
) -> Decoding:
    """Decode the whole video and keep the frames at `positions`.

    Packets that cannot be decoded are counted and skipped; the frames that the decoder buffers are
    flushed at the end. Only wanted frames are converted and kept.

    Args:
        path: The file.
        positions: Position in the decoder's output of each wanted frame, at least one; may contain
            duplicates.
        stop: Checked for every packet and frame.
        last_tick: Timestamp after which decoding may end; None decodes to the end.
        transform: Resizes and crops each wanted frame before it is kept; None keeps it as it is.
        view: Makes something else of each wanted frame, to be kept beside it.

    Raises:
        VideoError: If the file cannot be opened or has no video.
        PictureError: If the wanted frames are too large.
    """
    slots: dict[int, list[int]] = {}
    for slot, position in enumerate(positions):
        slots.setdefault(position, []).append(slot)
    result = Decoding()
    for frame in walk_frames(path, stop, result):
        wanted = slots.get(len(result.pts) - 1, [])
        keep_frame(frame, wanted, len(positions), result, transform, view)
        if last_tick is not None and frame.pts is not None and frame.pts > last_tick:
            break
    return result


def walk_frames(path: str, stop: StopFlag, result: Decoding) -> Iterator[Any]:
    """Decode the whole video and record errors and timestamps in `result`.

    Yields:
        PyAV's frames in the decoder's order; the last entry of `result.pts` is its timestamp.

    Raises:
        VideoError: If the file cannot be opened or has no video.
    """
    with open_video(path, stop) as (container, stream):
        for frame in every_frame(container, stream, stop, result):
            stop.check()
            result.pts.append(frame.pts)
            result.num_damaged += frame.is_corrupt
            yield frame


def packets_of(container: Any, stream: Any, stop: StopFlag, result: Decoding) -> Iterator[Any]:
    """Yield the non-empty packets; an empty one inside a file would end decoding early."""
    import av

    try:
        for packet in container.demux(stream):
            stop.check()
            if packet.size:
                yield packet
    except MemoryError:  # a lack of memory is no damage
        raise
    except av.FFmpegError:
        result.breaks_off = True  # like the ffmpeg program, read no further


def every_frame(container: Any, stream: Any, stop: StopFlag, result: Decoding) -> Iterator[Any]:
    """Decode a stream from its start, in the decoder's order, and count rejected packets.

    Args:
        container: As `open_video` gives it.
        stream: As `open_video` gives it.
        stop: Checked for every packet.
        result: Records the errors.

    Yields:
        PyAV's frames.
    """
    import av

    def flushed() -> Iterator[Any]:
        yield from packets_of(container, stream, stop, result)
        yield None  # flushes the frames that the decoder buffers

    for packet in flushed():
        try:
            frames = stream.decode(packet)
        except MemoryError:
            raise
        except av.FFmpegError:
            result.note_error()
            continue
        yield from frames


def keep_frame(
    frame: Any,
    slots: Sequence[int],
    num_frames: int,
    result: Decoding,
    transform: VideoTransform | None,
    view: View | None = None,
) -> None:
    """Convert a frame and copy it into the given `slots` of the `num_frames` in `result.frames`.

    Raises:
        PictureError: If the frame, or all frames together, are too large, or the frame is smaller
            than the transform's crop.
    """
    if not slots:
        return
    validate_num_pixels(frame.width, frame.height)
    result.seen.add(frame)
    result.size = result.size or upright_size(frame)
    picture = torch.from_numpy(upright_picture(frame, result.size))
    kept = picture if transform is None else _resized(picture, transform)
    if result.frames is None:
        _validate_num_bytes(num_frames, kept)
        result.frames = kept.new_zeros((num_frames, *kept.shape))
    for slot in slots:
        result.frames[slot] = kept
    if view is not None:
        result.views |= dict.fromkeys(slots, view(picture.numpy()))


def _resized(picture: Tensor, transform: VideoTransform) -> Tensor:
    height, width = picture.shape[:2]
    try:
        transform.seen_region(height, width)
    except ValueError as error:
        raise PictureError(str(error)) from error
    return transform.resized(picture[None])[0]


def _validate_num_bytes(num_frames: int, kept: Tensor) -> None:
    if num_frames * kept.numel() > _MAX_CLIP_BYTES:
        raise PictureError(
            f"{num_frames} frames of {'x'.join(map(str, kept.shape))} bytes take more than the "
            f"{_MAX_CLIP_BYTES / 1e9:.1f} GB that a clip may take. Take fewer frames, or make a "
            "smaller copy of it."
        )


def _header_seconds(container: Any, stream: Any) -> float | None:
    if container.format.flags & _FLAGS_WITHOUT_DURATION:
        return None
    if stream.duration:
        return float(stream.duration * stream.time_base)
    tag = _MATROSKA_DURATION.fullmatch(stream.metadata.get("DURATION", ""))
    if tag:
        hours, minutes, seconds = map(float, tag.groups())
        return 3600 * hours + 60 * minutes + seconds
    return _longest_seconds(container) if len(container.streams) == 1 else None


def _longest_seconds(container: Any) -> float | None:
    if container.format.flags & _FLAGS_WITHOUT_DURATION:
        return None
    return container.duration / 1e6 if container.duration else None
