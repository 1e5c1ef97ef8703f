"""The colours of the pictures: a scale for saliency, and one colour per group.

Letters: `N0` patches.
"""

import numpy as np
from numpy.typing import NDArray

from vidtldr.visualize.patch_grid import PatchGrid

__all__ = ["BACKGROUND", "FOREGROUND", "HEAT", "heat", "patch_colours"]

Colours = NDArray[np.uint8]

#: What Eq. 8 calls background, and the line around what it calls foreground.
BACKGROUND = (38, 44, 58)
FOREGROUND = (255, 214, 79)

# From near-black via violet and red to pale yellow: lightness only rises, so it works in grey too.
_ANCHORS = (
    (10, 8, 40),
    (72, 20, 105),
    (150, 38, 100),
    (219, 82, 62),
    (250, 158, 56),
    (253, 245, 180),
)


def _heat_table() -> Colours:
    places = np.linspace(0, 1, len(_ANCHORS))
    steps = np.linspace(0, 1, 256)
    channels = [np.interp(steps, places, channel) for channel in zip(*_ANCHORS, strict=True)]
    return np.stack(channels, axis=-1).round().astype(np.uint8)


#: The scale of saliency from 0 to 1, shape (256, 3).
HEAT: Colours = _heat_table()


def heat(values: NDArray[np.float32]) -> Colours:
    """Map values in [0, 1] to colours; shape (...) to (..., 3)."""
    return HEAT[np.clip(values * 255, 0, 255).round().astype(np.uint8)]


def patch_colours(grid: PatchGrid) -> Colours:
    """Choose a colour for each patch, and so for the group identified by it (`first_patch`).

    Neighbours in a row, in a column and in time are far apart in hue or lightness.

    Returns:
        Shape (N0, 3).
    """
    t, row, column = np.indices(grid.shape).reshape(3, -1)
    hue = 0.618034 * column + 0.277 * row + 0.137 * t
    lightness = np.asarray((0.64, 0.73, 0.82))[(row + 2 * column + t) % 3]
    return _from_oklch(lightness, 0.15, 2 * np.pi * hue)


def _from_oklch(lightness: NDArray[np.float64], chroma: float, hue: NDArray[np.float64]) -> Colours:
    """OKLCH, in which equal steps look equal, to sRGB.

    Source: B. Ottosson, "A perceptual color space for image processing", 2020 (the matrices).
    """
    a, b = chroma * np.cos(hue), chroma * np.sin(hue)
    cones = np.stack(
        [
            lightness + 0.3963377774 * a + 0.2158037573 * b,
            lightness - 0.1055613458 * a - 0.0638541728 * b,
            lightness - 0.0894841775 * a - 1.2914855480 * b,
        ],
        axis=-1,
    )
    to_linear = np.asarray(
        [
            [4.0767416621, -3.3077115913, 0.2309699292],
            [-1.2684380046, 2.6097574011, -0.3413193965],
            [-0.0041960863, -0.7034186147, 1.7076147010],
        ]
    )
    linear = np.clip(cones**3 @ to_linear.T, 0, 1)
    encoded = np.where(linear > 0.0031308, 1.055 * linear ** (1 / 2.4) - 0.055, 12.92 * linear)
    colours: Colours = (encoded * 255).round().astype(np.uint8)
    return colours
