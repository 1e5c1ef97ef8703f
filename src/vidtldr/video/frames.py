"""Two walks through a video file: over its packets, and over its decoded frames.

Letters: `T` frames, `H` and `W` the upright picture.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vidtldr.video.deadline import StopFlag
from vidtldr.video.local_file import open_video

__all__ = [
    "Decoding",
    "Scan",
    "decode_frames",
    "every_frame",
    "keep_frame",
    "packets_of",
    "scan_packets",
    "upright_picture",
    "walk_frames",
]

# Timestamps of a container can be some frames out of order: decode so much beyond a time limit.
_SLACK_SECONDS = 1


@dataclass(frozen=True)
class Scan:
    """What a video file says of itself, before anything is decoded.

    Attributes:
        packet_pts: Timestamp of each packet that should become a frame, in file order.
        keyframes: Numbers of the packets that a decoder can begin at.
        breaks_off: Whether reading ended before the end of the file.
        num_corrupt: Packets that the container marks as damaged.
        num_hidden: Packets that the file's edit list keeps from being shown.
        time_base: Seconds of one tick of a timestamp.
        average_rate: Frames a second by the header; None if unknown.
        reorders: Whether the codec itself puts frames in display order.
        num_frames_in_header: 0 if the header does not count them, as in most MKV and WebM.
        header_seconds: Length by the header; None if unknown.
        pixel_aspect: Width of a pixel by its height; None if unknown.
        num_video_streams: Video streams in the file.
        stream_index: Number in the file of the stream that is used.
        stream_size: Width and height of that stream as stored, in pixels.
        codec: FFmpeg's name of its codec, such as "h264".
    """

    packet_pts: tuple[int | None, ...]
    keyframes: tuple[int, ...]
    breaks_off: bool
    num_corrupt: int
    num_hidden: int
    time_base: Fraction
    average_rate: Fraction | None
    reorders: bool
    num_frames_in_header: int
    header_seconds: float | None
    pixel_aspect: Fraction | None
    num_video_streams: int
    stream_index: int
    stream_size: tuple[int, int]
    codec: str

    def expected_pts(self) -> list[int | None]:
        """The timestamps in the order in which a healthy file would give its frames."""
        if self.reorders and None not in self.packet_pts:
            return sorted(self.packet_pts, key=lambda tick: tick or 0)
        return list(self.packet_pts)

    def position_of(self) -> dict[int, int]:
        """The position in display order of each timestamp, where all are there and different."""
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
class Decoding:
    """What came out of a decoder.

    Attributes:
        frames: The wanted frames, uint8 RGB, shape (T, H, W, 3); None while none was met.
        pts: Timestamp of every decoded frame, in the decoder's order.
        breaks_off: Whether reading ended before the end of the file.
        num_errors: Packets that the decoder refused.
        first_error_at: Frames decoded before the first of them.
        num_damaged: Frames that FFmpeg marks as damaged.
        rotations: Angles, in degrees counterclockwise, that the file asks for.
        sizes: Sizes (H, W) of the wanted frames, before they were made equal.
    """

    frames: Tensor | None = None
    pts: list[int | None] = field(default_factory=list)
    breaks_off: bool = False
    num_errors: int = 0
    first_error_at: int = 0
    num_damaged: int = 0
    rotations: set[int] = field(default_factory=set)
    sizes: set[tuple[int, int]] = field(default_factory=set)

    def note_error(self) -> None:
        """Count a packet that could not be decoded."""
        if self.num_errors == 0:
            self.first_error_at = len(self.pts)
        self.num_errors += 1


def scan_packets(path: str, stop: StopFlag) -> Scan:
    """Walk over the packets without decoding them.

    Raises:
        VideoError: If the file cannot be opened or has no video.
    """
    with open_video(path, stop) as (container, stream):
        shown: list[int | None] = []
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
        return Scan(
            packet_pts=tuple(shown),
            keyframes=tuple(keyframes),
            breaks_off=result.breaks_off,
            num_corrupt=num_corrupt,
            num_hidden=num_hidden,
            time_base=stream.time_base,
            average_rate=stream.average_rate or None,
            reorders=bool(stream.codec.reorder),
            num_frames_in_header=stream.frames,
            header_seconds=_header_seconds(container, stream),
            pixel_aspect=stream.sample_aspect_ratio or None,
            num_video_streams=len(container.streams.video),
            stream_index=stream.index,
            stream_size=(stream.width, stream.height),
            codec=stream.codec.canonical_name,
        )


def decode_frames(
    path: str, positions: Sequence[int], stop: StopFlag, last_tick: int | None = None
) -> Decoding:
    """Decode the whole video and keep the frames at `positions`.

    Packets that cannot be decoded are counted and passed over; the frames that the decoder holds
    back are flushed at the end. Only wanted frames are converted and kept.

    Args:
        path: The file.
        positions: Position in the decoder's output of each wanted frame, at least one; one may
            be wanted several times.
        stop: Checked for every packet and frame.
        last_tick: Timestamp after which decoding may end; None decodes to the end.

    Raises:
        VideoError: If the file cannot be opened or has no video.
    """
    slots: dict[int, list[int]] = {}
    for slot, position in enumerate(positions):
        slots.setdefault(position, []).append(slot)
    result = Decoding()
    for frame in walk_frames(path, stop, result):
        keep_frame(frame, slots.get(len(result.pts) - 1, []), len(positions), result)
        if last_tick is not None and frame.pts is not None and frame.pts > last_tick:
            break
    return result


def walk_frames(path: str, stop: StopFlag, result: Decoding) -> Iterator[Any]:
    """Decode the whole video and note in `result` what happens.

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
    """Packets with content; an empty one inside a file would end decoding early."""
    import av

    try:
        for packet in container.demux(stream):
            stop.check()
            if packet.size:
                yield packet
    except av.FFmpegError:
        result.breaks_off = True  # as FFmpeg's own program does: what follows is not read


def every_frame(container: Any, stream: Any, stop: StopFlag, result: Decoding) -> Iterator[Any]:
    """Decode a stream from its start, in the decoder's order; what it refuses is counted.

    Args:
        container: As `open_video` gives it.
        stream: As `open_video` gives it.
        stop: Checked for every packet.
        result: Where refusals are noted.

    Yields:
        Frames of PyAV.
    """
    import av

    def flushed() -> Iterator[Any]:
        yield from packets_of(container, stream, stop, result)
        yield None  # makes the decoder give the frames it holds back

    for packet in flushed():
        try:
            frames = stream.decode(packet)
        except av.FFmpegError:
            result.note_error()
            continue
        yield from frames


def keep_frame(frame: Any, slots: Sequence[int], num_frames: int, result: Decoding) -> None:
    """Convert a frame and put it into some of the `num_frames` places of `result.frames`."""
    if not slots:
        return
    result.rotations.add(frame.rotation)
    size = None if result.frames is None else (result.frames.shape[1], result.frames.shape[2])
    natural = (frame.height, frame.width) if _turns(frame) % 2 == 0 else (frame.width, frame.height)
    result.sizes.add(natural)
    picture = torch.from_numpy(upright_picture(frame, size))
    if result.frames is None:
        result.frames = picture.new_zeros((num_frames, *picture.shape))
    for slot in slots:
        result.frames[slot] = picture


def upright_picture(frame: Any, size: tuple[int, int] | None = None) -> NDArray[np.uint8]:
    """The frame as RGB, turned as the file's display matrix asks.

    Args:
        frame: A decoded frame of PyAV.
        size: (H, W) to scale the upright picture to; None keeps its own.

    Returns:
        Shape (H, W, 3).
    """
    height, width = frame.height, frame.width
    if size is not None:
        height, width = size if _turns(frame) % 2 == 0 else size[::-1]
    return _upright(frame, width, height)


def _upright(frame: Any, width: int, height: int) -> NDArray[np.uint8]:
    """The frame as RGB, turned as the file's display matrix asks: (H, W, 3)."""
    pixels = frame.to_ndarray(format="rgb24", width=width, height=height)
    if _is_mirrored(frame):
        pixels = pixels[::-1]
    return np.ascontiguousarray(np.rot90(pixels, _turns(frame)))


def _turns(frame: Any) -> int:
    """Quarter turns counterclockwise."""
    turns: int = round(frame.rotation / 90)
    return turns % 4


def _is_mirrored(frame: Any) -> bool:
    matrix = frame.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return False
    a, b, _, c, d = np.frombuffer(bytes(matrix), dtype=np.int32)[:5].astype(float)
    return bool(a * d - b * c < 0)


def _header_seconds(container: Any, stream: Any) -> float | None:
    if stream.duration:
        return float(stream.duration * stream.time_base)
    return container.duration / 1e6 if container.duration else None
