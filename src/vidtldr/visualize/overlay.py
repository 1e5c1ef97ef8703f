"""Paint saliency, background and merged groups over pictures.

Letters: `H` and `W` the picture in pixels, `R` and `K` rows and columns of patches.
"""

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from vidtldr.video.transform import Region
from vidtldr.visualize.colours import BACKGROUND, FOREGROUND, heat
from vidtldr.visualize.merged_layer import MergedLayer

__all__ = [
    "Cells",
    "Paint",
    "background_paint",
    "blend",
    "groups_paint",
    "saliency_paint",
    "saliency_veil",
]

Picture = NDArray[np.uint8]
_Value = TypeVar("_Value", bound=np.generic)

GROUP_ALPHA, SALIENCY_ALPHA, BACKGROUND_ALPHA, DROPPED_ALPHA, HATCH_ALPHA = 120, 178, 205, 110, 190
VEIL_ALPHA = 130
HATCH = (235, 235, 240)
DROPPED = (20, 22, 30)
_LINES_A_SIDE = 170  # pixels of the shorter side per pixel of line width


@dataclass(frozen=True, eq=False)
class Paint:
    """A layer to blend over a picture.

    Attributes:
        colour: Shape (H, W, 3).
        alpha: Opacity, shape (H, W), from 0 (transparent) to 255 (opaque).
    """

    colour: Picture
    alpha: Picture


class Cells:
    """Which patch each pixel of a picture lies in.

    Args:
        size: (H, W) of the picture.
        grid_size: (R, K).
        region: The part of the picture that the patches cover; None for all of it.

    Attributes:
        line: Width of a line, in pixels.
    """

    def __init__(
        self, size: tuple[int, int], grid_size: tuple[int, int], region: Region | None = None
    ) -> None:
        region = region or Region(0, 0, *size)
        self.size, self.grid_size = size, grid_size
        self.line = max(1, round(min(region.height, region.width) / _LINES_A_SIDE))
        self._rows = _places(size[0], region.top, region.height, grid_size[0])
        self._columns = _places(size[1], region.left, region.width, grid_size[1])
        inside = [(places >= 0) & (places < count) for places, count in self._axes()]
        self.is_inside = inside[0][:, None] & inside[1][None, :]

    def spread(self, values: NDArray[_Value]) -> NDArray[_Value]:
        """Give pixels the value of their patch, or of the nearest: (R, K, ...) to (H, W, ...)."""
        rows, columns = (np.clip(places, 0, count - 1) for places, count in self._axes())
        return values[rows][:, columns]

    def edges(self, values: NDArray[np.generic]) -> NDArray[np.bool_]:
        """Find pixels where patches of different values (R, K) meet or the grid ends, (H, W)."""
        spread = np.where(self.is_inside, self.spread(values), -1)
        found = np.zeros(self.size, dtype=bool)
        framed = np.pad(spread, self.line, constant_values=-1)
        height, width = self.size
        for down, across in ((-1, 0), (1, 0), (0, -1), (0, 1)):
            top, left = self.line * (1 + down), self.line * (1 + across)
            found |= framed[top : top + height, left : left + width] != spread
        return found & self.is_inside

    def hatching(self) -> NDArray[np.bool_]:
        """Slanted lines, (H, W)."""
        down, across = np.indices(self.size, sparse=True)
        return np.asarray((down + across) % (6 * self.line) < self.line)

    def _axes(self) -> tuple[tuple[NDArray[np.int64], int], tuple[NDArray[np.int64], int]]:
        return (self._rows, self.grid_size[0]), (self._columns, self.grid_size[1])


def saliency_paint(layer: MergedLayer, frame: int, cells: Cells) -> Paint:
    """The heat map of Eq. 5 over a frame.

    Args:
        layer: A layer with a score.
        frame: Which frame of the grid.
        cells: The picture.
    """
    assert layer.saliency is not None
    return _painted(heat(layer.saliency[frame]), SALIENCY_ALPHA, cells)


def saliency_veil(layer: MergedLayer, frame: int, cells: Cells) -> Paint:
    """The heat map of Eq. 5, faint where saliency is low, so that the picture stays visible."""
    assert layer.saliency is not None
    paint = saliency_paint(layer, frame, cells)
    veil = cells.spread((layer.saliency[frame] * VEIL_ALPHA).round().astype(np.uint8))
    return Paint(paint.colour, np.minimum(paint.alpha, np.asarray(veil, np.uint8)))


def background_paint(layer: MergedLayer, frame: int, cells: Cells) -> Paint:
    """Eq. 8 over a frame: the background is darkened, the foreground is outlined."""
    assert layer.is_foreground is not None
    mask = layer.is_foreground[frame]
    alpha = np.where(cells.spread(~mask) & cells.is_inside, BACKGROUND_ALPHA, 0)
    colour = np.empty((*cells.size, 3), np.uint8)
    colour[:] = BACKGROUND
    outline = cells.edges(mask.astype(np.int64)) & cells.spread(mask)
    colour[outline], alpha[outline] = FOREGROUND, 255
    return Paint(colour, alpha.astype(np.uint8))


def groups_paint(layer: MergedLayer, frame: int, cells: Cells, colours: Picture) -> Paint:
    """Merged groups over a frame: one colour and outline per group, dropped patches hatched.

    A patch that is a token of its own stays clear.

    Args:
        layer: What merged.
        frame: Which frame of the grid.
        cells: The picture.
        colours: Result of `patch_colours`, shape (N0, 3).
    """
    group, dropped = layer.group[frame], layer.is_dropped[frame]
    shared = layer.is_shared[frame]
    colour = np.array(cells.spread(colours[layer.first_patch[group]]))
    alpha = np.zeros(cells.size, np.int64)
    alpha[cells.spread(shared)] = GROUP_ALPHA
    is_dropped = cells.spread(dropped)
    colour[is_dropped], alpha[is_dropped] = DROPPED, DROPPED_ALPHA
    hatched = is_dropped & cells.hatching()
    colour[hatched], alpha[hatched] = HATCH, HATCH_ALPHA
    outline = cells.edges(np.where(shared, group, -2)) & cells.spread(shared)
    alpha[outline] = 255
    alpha[~cells.is_inside] = 0
    return Paint(np.asarray(colour, np.uint8), alpha.astype(np.uint8))


def blend(picture: Picture, *paints: Paint) -> Picture:
    """Blend paints over a picture (H, W, 3), the last on top; the input is not modified."""
    for paint in paints:
        alpha = paint.alpha[..., None].astype(np.uint16)
        mixed = picture * (255 - alpha) + paint.colour * alpha
        picture = ((mixed + 127) // 255).astype(np.uint8)
    return picture


def _painted(colour: Picture, alpha: int, cells: Cells) -> Paint:
    covered = np.where(cells.is_inside, alpha, 0).astype(np.uint8)
    return Paint(np.asarray(cells.spread(colour), np.uint8), covered)


def _places(length: int, start: float, covered: float, count: int) -> NDArray[np.int64]:
    """Patch index of each pixel along one side; outside, it is below 0 or at least `count`."""
    centres = np.arange(length) + 0.5
    places: NDArray[np.int64] = np.floor((centres - start) / covered * count).astype(np.int64)
    return places
