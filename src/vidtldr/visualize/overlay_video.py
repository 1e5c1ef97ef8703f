"""The clip itself with saliency and merged groups over it, at its own speed and size.

Letters: `H` and `W` the upright picture of the video, in pixels.
"""

from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vidtldr.video.deadline import StopFlag
from vidtldr.video.frames import Decoding, every_frame
from vidtldr.video.local_file import open_video
from vidtldr.video.picture import upright_picture
from vidtldr.video.transform import Region
from vidtldr.visualize.colours import patch_colours
from vidtldr.visualize.merged_layer import MergedLayer
from vidtldr.visualize.overlay import Cells, Paint, blend, groups_paint, saliency_veil
from vidtldr.visualize.patch_grid import PatchGrid

__all__ = ["VIDEO_FORMATS", "clip_painter", "nearest_sampled", "write_overlay_video"]

VIDEO_FORMATS = (".mp4", ".gif")
_FALLBACK_RATE = Fraction(25)
_CODEC_OPTIONS = {"crf": "20", "preset": "veryfast"}

Picture = NDArray[np.uint8]
#: Called with the index of a sampled frame, returns what to blend over it.
PaintsOfFrame = Callable[[int], Sequence[Paint]]
#: Called with (H, W).
Painter = Callable[[tuple[int, int]], PaintsOfFrame]


def clip_painter(
    layer: MergedLayer, grid: PatchGrid, seen_region: Callable[[int, int], Region]
) -> Painter:
    """Choose what to blend over the frames of a video: saliency under merged groups.

    Args:
        layer: What merged.
        grid: Where the patches are.
        seen_region: Called with H and W, returns the part of the picture that the model sees.
    """
    colours = patch_colours(grid)

    def for_size(size: tuple[int, int]) -> PaintsOfFrame:
        cells = Cells(size, grid.shape[1:], seen_region(*size))

        def for_frame(slot: int) -> Sequence[Paint]:
            frame = slot // grid.frames_per_token
            groups = groups_paint(layer, frame, cells, colours)
            return (
                [groups] if layer.saliency is None else [saliency_veil(layer, frame, cells), groups]
            )

        return for_frame

    return for_size


def write_overlay_video(
    output: Path,
    source: str,
    painter: Painter,
    sampled: Sequence[int],
    *,
    on_step: Callable[[], object] = lambda: None,
) -> int:
    """Write every frame of a video with the paints of the nearest sampled frame over it.

    Timestamps are those of the source. H.264 needs even sides: for odd ones, the last row or column
    is repeated. Sound is not copied.

    Args:
        output: A file ending in .mp4 (H.264) or .gif.
        source: The video that was sampled from.
        painter: Result of `clip_painter`.
        sampled: Index of each sampled frame, as in `Clip.indices`.
        on_step: Called after every frame, to show progress.

    Returns:
        Frames written.

    Raises:
        ValueError: If the file has another extension.
        VideoError: If the source cannot be read.
        OSError: If the file cannot be written.
    """
    ending = output.suffix.lower()
    if ending not in VIDEO_FORMATS:
        raise ValueError(
            f"video must end in {' or '.join(VIDEO_FORMATS)}, got {str(output)!r}. Rename it."
        )
    write = _write_gif if ending == ".gif" else _write_mp4
    return write(output, _painted(source, painter, sampled), on_step)


def nearest_sampled(index: int, sampled: Sequence[int]) -> int:
    """Return the sampled frame nearest to a frame of the file; ties go to the earlier."""
    return min(range(len(sampled)), key=lambda slot: abs(sampled[slot] - index))


class _Painted(NamedTuple):
    """A painted frame, with its time in ticks of the stream that it comes from."""

    stream: Any
    tick: int
    picture: Picture


def _painted(source: str, painter: Painter, sampled: Sequence[int]) -> Iterator[_Painted]:
    """Open the source here, so that an error of writing is not taken for one of reading it."""
    with open_video(source, StopFlag()) as (container, stream):
        for tick, picture in _frames(container, stream, painter, sampled):
            yield _Painted(stream, tick, picture)


def _frames(
    container: Any, stream: Any, painter: Painter, sampled: Sequence[int]
) -> Iterator[tuple[int, Picture]]:
    size: tuple[int, int] | None = None
    paints_of: PaintsOfFrame | None = None
    paints: Sequence[Paint] = ()
    slot = tick = -1
    step = _ticks_a_frame(stream)
    frames = every_frame(container, stream, StopFlag(), Decoding())
    for index, frame in enumerate(frames):
        picture = upright_picture(frame, size)
        if size is None or paints_of is None:
            size = (picture.shape[0], picture.shape[1])
            paints_of = painter(size)
            tick = int(frame.pts or 0)
        elif frame.pts is None:
            tick += step
        else:  # encoders reject repeated timestamps
            tick = max(int(frame.pts), tick + 1)
        nearest = nearest_sampled(index, sampled)
        if nearest != slot:
            slot, paints = nearest, paints_of(nearest)
        yield tick, blend(picture, *paints)


def _ticks_a_frame(stream: Any) -> int:
    rate = stream.average_rate or _FALLBACK_RATE
    return max(1, round(float(1 / (rate * stream.time_base))))


def _write_mp4(output: Path, frames: Iterator[_Painted], on_step: Callable[[], object]) -> int:
    import av

    count, stream = 0, None
    with av.open(str(output), "w", format="mp4", options={"movflags": "faststart"}) as container:
        for source, tick, picture in frames:
            if stream is None:
                stream = _h264_stream(container, source, picture)
            frame = av.VideoFrame.from_ndarray(_even(picture), format="rgb24")
            frame.pts, frame.time_base = tick, source.time_base
            container.mux(stream.encode(frame))
            count += 1
            on_step()
        if stream is not None:
            container.mux(stream.encode())
    return count


def _h264_stream(container: Any, source: Any, picture: Picture) -> Any:
    rate = source.average_rate or _FALLBACK_RATE
    stream = container.add_stream("libx264", rate=rate, options=_CODEC_OPTIONS)
    height, width = _even(picture).shape[:2]
    stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
    stream.codec_context.time_base = source.time_base
    stream.codec_context.thread_count = 1
    aspect = source.sample_aspect_ratio
    if aspect:
        is_turned = (source.height, source.width) != picture.shape[:2]
        stream.codec_context.sample_aspect_ratio = 1 / aspect if is_turned else aspect
    return stream


def _even(picture: Picture) -> Picture:
    height, width = picture.shape[:2]
    return np.pad(picture, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")


def _write_gif(output: Path, frames: Iterator[_Painted], on_step: Callable[[], object]) -> int:
    """Write a GIF; it counts in 1/100 s, so durations are differences of rounded times.

    Frames are streamed to Pillow. It asks for a frame's duration on receiving the frame, but that
    is known only with the next one, so each is held back until its duration has been appended.
    """
    durations_ms: list[int] = []

    def pictures() -> Iterator[Image.Image]:
        held: Image.Image | None = None
        start = end_ms = 0
        source: Any = None
        tick = 0
        for source, tick, picture in frames:
            if held is None:
                start = tick
            else:
                end_ms = _append_duration(durations_ms, end_ms, (tick - start) * source.time_base)
                yield held
            held = Image.fromarray(picture).quantize(128, Image.Quantize.FASTOCTREE)
            on_step()
        if held is not None:
            seconds = (tick + _ticks_a_frame(source) - start) * source.time_base
            _append_duration(durations_ms, end_ms, seconds)
            yield held

    rest = pictures()
    first = next(rest, None)
    if first is None:
        return 0
    first.save(output, save_all=True, append_images=rest, duration=durations_ms, loop=0)
    return len(durations_ms)


def _append_duration(durations_ms: list[int], start_ms: int, end_seconds: Fraction) -> int:
    """Append how long a frame is shown; return when it ends, in milliseconds."""
    end_ms = 10 * round(100 * end_seconds)
    durations_ms.append(max(20, end_ms - start_ms))
    return end_ms
