"""Decode only the wanted frames of a long video, each from the keyframe before it.

Positions are frame indices in display order, as promised by the packets' timestamps.
"""

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from vidtldr.video.deadline import StopFlag
from vidtldr.video.frames import Decoding, Scan, View, keep_frame, packets_of
from vidtldr.video.local_file import open_video
from vidtldr.video.transform import VideoTransform

__all__ = ["Stretch", "decode_stretches", "plan_stretches"]

# If keyframes are so far apart that more than this share of all packets is decoded anyway, decoding
# the whole file costs about as much and sees every frame.
_LARGEST_SHARE = 0.75


@dataclass(frozen=True)
class Stretch:
    """A run of frames decoded after one seek.

    Attributes:
        keyframe: Position of the keyframe to start from.
        tick: Its timestamp.
        wanted: Positions of the wanted frames, ascending.
        first_packet: Index in the file of the keyframe's packet.
        last_packet: Index in the file of the last packet that a wanted frame needs.
    """

    keyframe: int
    tick: int
    wanted: tuple[int, ...]
    first_packet: int
    last_packet: int

    def joined(self, later: "Stretch") -> "Stretch":
        """This stretch, extended to the end of a later one."""
        return replace(
            self,
            wanted=self.wanted + later.wanted,
            last_packet=max(self.last_packet, later.last_packet),
        )


class _SurpriseError(Exception):
    """The decoded frames are not what the packets promise."""


def plan_stretches(scan: Scan, positions: Sequence[int]) -> tuple[Stretch, ...]:
    """Plan what to decode for the wanted frames.

    Args:
        scan: The scan of the file's packets.
        positions: Positions of the wanted frames, in any order; may contain duplicates.

    Returns:
        The stretches in order, the last up to the end of the file; empty if the whole file has to
        be decoded: timestamps are missing or not unique, frames are hidden, the container is
        damaged, or seeking does not pay off.
    """
    if not _is_plain(scan):
        return ()
    position_of = scan.position_of()
    packet_of = {tick: number for number, tick in enumerate(scan.packet_pts)}
    ticks = list(position_of)
    begins = {scan.packet_pts[number] for number in scan.keyframes}
    keyframes = [position for position, tick in enumerate(ticks) if tick in begins]
    stretches: list[Stretch] = []
    for position in sorted({*positions, len(ticks) - 1}):  # the end as well: many files lack theirs
        before = bisect_right(keyframes, position) - 1
        if before < 0:
            return ()
        tick = ticks[keyframes[before]]
        found = Stretch(
            keyframes[before], tick, (position,), packet_of[tick], packet_of[ticks[position]]
        )
        if stretches and found.first_packet <= stretches[-1].last_packet + 1:
            found = stretches.pop().joined(found)
        stretches.append(found)
    num_packets = sum(each.last_packet - each.first_packet + 1 for each in stretches)
    return tuple(stretches) if num_packets <= _LARGEST_SHARE * len(scan.packet_pts) else ()


def decode_stretches(
    path: str,
    scan: Scan,
    stretches: Sequence[Stretch],
    positions: Sequence[int],
    stop: StopFlag,
    transform: VideoTransform | None = None,
    view: View | None = None,
) -> Decoding | None:
    """Decode stretches and keep the frames at `positions`.

    Every decoded frame must have the promised timestamp, and the decoder must neither reject a
    packet nor mark a frame as damaged.

    Args:
        path: The file.
        scan: The scan of its packets.
        stretches: From `plan_stretches`.
        positions: Positions of the wanted frames.
        stop: Checked for every packet.
        transform: As in `decode_frames`.
        view: As in `decode_frames`.

    Returns:
        The frames, as if all promised frames had been decoded; None if anything differs, in which
        case the whole file must be decoded.

    Raises:
        VideoError: If the file cannot be opened or has no video.
        PictureError: If the wanted frames are too large.
    """
    position_of = scan.position_of()
    slots: dict[int, list[int]] = {}
    for slot, position in enumerate(positions):
        slots.setdefault(position, []).append(slot)
    result = Decoding(pts=scan.expected_pts())
    with open_video(path, stop) as (container, stream):
        for stretch in stretches:
            try:
                for position, frame in _frames(container, stream, position_of, stretch, stop):
                    wanted = slots.get(position, [])
                    keep_frame(frame, wanted, len(positions), result, transform, view)
            except _SurpriseError:
                return None
    return result


def _is_plain(scan: Scan) -> bool:
    ticks = scan.packet_pts
    known = [tick for tick in ticks if tick is not None]
    return (
        len(set(known)) == len(ticks)
        and (scan.reorders or known == sorted(known))
        and not scan.num_hidden
        and not scan.breaks_off
        and not scan.num_corrupt
        and scan.num_frames_in_header in (0, len(ticks))
    )


def _frames(
    container: Any,
    stream: Any,
    position_of: Mapping[int, int],
    stretch: Stretch,
    stop: StopFlag,
) -> Iterator[tuple[int, Any]]:
    """Positions and frames from a keyframe, at the stretch's or before, to its last wanted one."""
    import av

    try:
        container.seek(stretch.tick, stream=stream)
    except MemoryError:
        raise
    except av.FFmpegError as error:
        raise _SurpriseError from error
    start = position = -1
    for packet in _flushed(container, stream, stop):
        if start < 0:
            if packet is None or not packet.is_keyframe:
                continue
            start = position = position_of.get(packet.pts, len(position_of))
            if start > stretch.keyframe:
                raise _SurpriseError
        try:
            frames = stream.decode(packet)
        except MemoryError:
            raise
        except av.FFmpegError as error:
            raise _SurpriseError from error
        for frame in frames:
            found = position_of.get(frame.pts, len(position_of))
            if position == start and found < start:
                continue  # a leading frame, shown before the keyframe: it needs earlier packets
            if frame.is_corrupt or found != position:
                raise _SurpriseError
            yield position, frame
            if position == stretch.wanted[-1]:
                return
            position += 1
    raise _SurpriseError


def _flushed(container: Any, stream: Any, stop: StopFlag) -> Iterator[Any]:
    result = Decoding()
    yield from packets_of(container, stream, stop, result)
    if not result.breaks_off:
        yield None  # flushes the frames that the decoder buffers
