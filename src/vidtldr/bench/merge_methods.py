"""The methods of merging that benchmarks compare: a name and fields of `MergeConfig`."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

__all__ = ["ABLATIONS", "MERGING", "VID_TLDR"]

VID_TLDR = "vid-TLDR"

MERGING: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        VID_TLDR: {"score": "sharpness"},
        "attention received": {"score": "received"},
        "flatness": {"score": "flatness"},
        "sharpness per head": {"score": "sharpness-per-head"},
        "representation shift": {"score": "representation-shift"},
        "plain merging on x": {"score": None},
        "vid-TLDR by mass": {"pooling": "mass"},
        "plain by mass": {"score": None, "pooling": "mass"},
        "ToMe (keys)": {"score": None, "metric": "keys"},
        "random merging": {"score": None, "metric": "random"},
    }
)
#: Ablations of vid-TLDR's two parts; without both it is plain merging on x.
ABLATIONS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {"no drop mask": {"weighting": "saliency"}, "no sharpening": {"weighting": "mask"}}
)
