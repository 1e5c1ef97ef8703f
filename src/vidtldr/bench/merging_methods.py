"""The ways to merge that benchmarks compare, each as the fields of `MergeConfig` that it sets.

Layers and counts are not among them: benchmarks compare at equal cost.
"""

from typing import Any

__all__ = ["ABLATION_NAMES", "MERGING_METHODS", "VID_TLDR"]

VID_TLDR = "vid-TLDR"
MERGING_METHODS: dict[str, dict[str, Any]] = {
    VID_TLDR: {"score": "sharpness"},
    "attention received": {"score": "received"},
    "flatness": {"score": "flatness"},
    "sharpness per head": {"score": "sharpness-per-head"},
    "representation shift": {"score": "representation-shift"},
    "plain merging on x": {"score": None},
    "vid-TLDR by mass": {"score": "sharpness", "pooling": "mass"},
    "plain by mass": {"score": None, "pooling": "mass"},
    "ToMe (keys)": {"score": None, "metric": "keys"},
    "random merging": {"score": None, "metric": "random"},
    "no drop mask": {"score": "sharpness", "weighting": "saliency"},
    "no sharpening": {"score": "sharpness", "weighting": "mask"},
}
#: Of vid-TLDR's two parts; they stand behind all other methods in tables, and not in plots.
ABLATION_NAMES = ("no drop mask", "no sharpening")
