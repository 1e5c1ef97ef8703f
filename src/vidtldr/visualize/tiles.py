"""Tiles: the frames of a clip as the model sees them, scaled for viewing.

Letters: `T` frames of the clip, `H` and `W` the picture as decoded, `h` and `w` a tile.
"""

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from vidtldr.video.transform import Region

__all__ = ["make_tile", "make_tiles"]


def make_tiles(frames: Tensor, region: Region, longest: int) -> list[NDArray[np.uint8]]:
    """Cut out what the model sees and scale it, keeping its proportions.

    Args:
        frames: uint8 RGB, shape (T, H, W, 3).
        region: The part of each that the model sees.
        longest: The longer side of a tile, in pixels.

    Returns:
        T pictures of shape (h, w, 3).
    """
    return [make_tile(frame, region, longest) for frame in frames.cpu().numpy()]


def make_tile(frame: NDArray[np.uint8], region: Region, longest: int) -> NDArray[np.uint8]:
    """Make the tile of one frame, shape (H, W, 3); otherwise as `make_tiles`."""
    scale = longest / max(region.height, region.width)
    size = (max(1, round(region.width * scale)), max(1, round(region.height * scale)))
    box = (region.left, region.top, region.left + region.width, region.top + region.height)
    picture = Image.fromarray(frame)
    return np.asarray(picture.resize(size, Image.Resampling.BICUBIC, box, reducing_gap=3))
