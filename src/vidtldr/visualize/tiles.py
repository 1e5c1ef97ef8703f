"""Tiles: the frames of a clip as the model sees them, scaled for viewing.

Letters: `T` frames of the clip, `H` and `W` the picture as decoded, `h` and `w` a tile.
"""

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from vidtldr.video.transform import Region

__all__ = ["make_tiles"]


def make_tiles(frames: Tensor, region: Region, longest: int) -> list[NDArray[np.uint8]]:
    """Cut out what the model sees and scale it, keeping its proportions.

    Args:
        frames: uint8 RGB, shape (T, H, W, 3).
        region: The part of each that the model sees.
        longest: The longer side of a tile, in pixels.

    Returns:
        T pictures of shape (h, w, 3).
    """
    scale = longest / max(region.height, region.width)
    size = (max(1, round(region.width * scale)), max(1, round(region.height * scale)))
    box = (region.left, region.top, region.left + region.width, region.top + region.height)
    return [
        np.asarray(
            Image.fromarray(frame).resize(size, Image.Resampling.BICUBIC, box, reducing_gap=3)
        )
        for frame in frames.cpu().numpy()
    ]
