"""The data that the page's script draws from: pictures and arrays as text.

Letters: `N0` patches, `N` tokens now.
"""

import base64
import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vidtldr.visualize.colours import BACKGROUND, FOREGROUND, HEAT, patch_colours
from vidtldr.visualize.merged_layer import MergedLayer
from vidtldr.visualize.report_facts import Report, Side

__all__ = ["page_data"]

_JPEG_QUALITY = 85
_MOST = 65535


def page_data(report: Report) -> dict[str, Any]:
    """Return what the script needs, ready for JSON; arrays are little-endian in base64."""
    grid = report.grid
    return {
        "grid": {
            "frames": grid.num_frames,
            "rows": grid.num_rows,
            "columns": grid.num_columns,
            "framesPerToken": grid.frames_per_token,
        },
        "pictures": [_jpeg(tile) for tile in report.tiles],
        "seconds": [None if time is None else f"{time:.2f}" for time in report.times_seconds],
        "colours": _base64(patch_colours(grid)),
        "heat": _base64(HEAT),
        "background": list(BACKGROUND),
        "foreground": list(FOREGROUND),
        "features": [_base64(side) for side in report.features],
        "methods": [_method(side) for side in report.methods],
        "shownLayer": report.shown_layer,
        "depth": len(report.merged.num_tokens),
    }


def _method(side: Side) -> dict[str, Any]:
    return {"name": side.name, "layers": [_layer(layer) for layer in side.layers]}


def _layer(layer: MergedLayer) -> dict[str, Any]:
    has_score = layer.saliency is not None and layer.is_foreground is not None
    return {
        "layer": layer.layer,
        "tokensBefore": layer.num_tokens_before,
        "tokens": layer.num_tokens,
        "saliency": _base64(_in_16_bits(layer.saliency)) if has_score else None,
        "foreground": _base64(layer.is_foreground) if has_score else None,
        "group": _base64(layer.group.astype("<u4")),
        "weight": _base64(_in_16_bits(layer.weight)),
        "mass": _base64(layer.mass.astype("<f4")),
        "firstPatch": _base64(layer.first_patch.astype("<u4")),
    }


def _in_16_bits(values: NDArray[np.float32] | None) -> NDArray[np.uint16]:
    """Quantise values in [0, 1] to 16 bits; only 0 becomes 0, as a weight of 0 means dropped."""
    assert values is not None
    steps = np.round(values.astype(np.float64) * _MOST)
    return np.where(values > 0, np.clip(steps, 1, _MOST), 0).astype("<u2")


def _base64(values: NDArray[Any] | None) -> str:
    assert values is not None
    return base64.b64encode(np.ascontiguousarray(values).tobytes()).decode("ascii")


def _jpeg(picture: NDArray[np.uint8]) -> str:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=_JPEG_QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode('ascii')}"
