"""The merging methods that benchmarks compare, each as the fields of `MergeConfig` that it sets.

The benchmarks choose layers and counts themselves, so as to compare at equal cost.
"""

from typing import Any

__all__ = ["ABLATION_NAMES", "DEFAULT", "MERGING_METHODS", "SPREAD_METHODS", "VID_TLDR"]

DEFAULT, VID_TLDR = "default", "vid-TLDR"
#: Methods in the layers of the default, a little in each of many. Where the model pools its tokens,
#: all of them pool by mass.
SPREAD_METHODS: dict[str, dict[str, Any]] = {
    DEFAULT: {},
    "default (protected)": {"score": "sharpness", "linkage": "ward", "protect": 0.3},
    "vid-TLDR (spread)": {"score": "sharpness"},
    "plain merging (spread)": {"linkage": "cosine"},
    "ToMe (spread)": {"score": None, "metric": "keys"},
}
MERGING_METHODS: dict[str, dict[str, Any]] = {
    VID_TLDR: {"score": "sharpness"},
    "attention received": {"score": "received"},
    "flatness": {"score": "flatness"},
    "sharpness per head": {"score": "sharpness-per-head"},
    "representation shift": {"score": "representation-shift"},
    "plain merging on x": {"linkage": "cosine"},
    "vid-TLDR by mass": {"score": "sharpness", "pooling": "mass"},
    "plain by mass": {"linkage": "cosine", "pooling": "mass"},
    "ToMe (keys)": {"score": None, "metric": "keys"},
    "ToMe by mass": {"score": None, "metric": "keys", "pooling": "mass"},
    "random merging": {"score": None, "metric": "random"},
    "no drop mask": {"score": "sharpness", "weighting": "saliency"},
    "no sharpening": {"score": "sharpness", "weighting": "mask"},
}
#: Ablations of vid-TLDR's two parts: last in tables, and left out of plots.
ABLATION_NAMES = ("no drop mask", "no sharpening")
