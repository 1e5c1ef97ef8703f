"""Turn a decoded frame into an upright RGB picture.

Letters: `H` and `W` the upright picture.
"""

from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["is_transparent", "upright_picture", "upright_size"]

_NUM_SIDE_DATA_TYPES = 64  # FFmpeg 8 has 33


def upright_picture(frame: Any, size: tuple[int, int] | None = None) -> NDArray[np.uint8]:
    """Convert a frame to RGB, rotated by the file's display matrix.

    Args:
        frame: A decoded PyAV frame.
        size: (H, W) to scale the upright picture to; None keeps its own.

    Returns:
        Shape (H, W, 3).
    """
    height, width = frame.height, frame.width
    if size is not None:
        height, width = size if _turns(frame) % 2 == 0 else size[::-1]
    return _upright(frame, width, height)


def _upright(frame: Any, width: int, height: int) -> NDArray[np.uint8]:
    """Convert a frame to RGB, rotated by the file's display matrix: (H, W, 3)."""
    pixels = frame.to_ndarray(format="rgb24", width=width, height=height)
    if _is_mirrored(frame):
        pixels = pixels[::-1]
    return np.ascontiguousarray(np.rot90(pixels, _turns(frame)))


def _turns(frame: Any) -> int:
    """Quarter turns counterclockwise."""
    turns: int = round(frame.rotation / 90)
    return turns % 4


def _is_mirrored(frame: Any) -> bool:
    matrix = _side_data(frame).get("DISPLAYMATRIX")
    if matrix is None:
        return False
    a, b, _, c, d = np.frombuffer(bytes(matrix), dtype=np.int32)[:5].astype(float)
    return bool(a * d - b * c < 0)


def _side_data(frame: Any) -> Any:
    """A frame's side data of the types that PyAV knows.

    One of another type, such as EXIF, makes PyAV refuse them all, so FFmpeg removes those first.
    """
    from av.filter import Graph
    from av.sidedata.sidedata import Type

    try:
        return frame.side_data
    except ValueError:
        known: set[Any] = {each.value for each in Type}
    graph = Graph()
    nodes = [
        graph.add_buffer(
            width=frame.width,
            height=frame.height,
            format=frame.format,
            time_base=frame.time_base or Fraction(1),
        )
    ]
    for number in range(_NUM_SIDE_DATA_TYPES):
        if number not in known:
            nodes.append(graph.add("sidedata", f"mode=delete:type={number}"))
    graph.link_nodes(*nodes, graph.add("buffersink")).configure()
    graph.push(frame)
    return graph.pull().side_data


def upright_size(frame: Any) -> tuple[int, int]:
    """(H, W) of a frame turned upright."""
    return (frame.height, frame.width) if _turns(frame) % 2 == 0 else (frame.width, frame.height)


def is_transparent(frame: Any) -> bool:
    """Whether a pixel is not opaque; frames of a GIF always have an alpha channel."""
    if not frame.format.has_palette and not any(each.is_alpha for each in frame.format.components):
        return False
    return bool(frame.to_ndarray(format="rgba")[..., 3].min() < 255)
