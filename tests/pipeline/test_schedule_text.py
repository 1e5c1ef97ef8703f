from typing import Any

import pytest

from vidtldr.config import MergeConfig
from vidtldr.pipeline.request import schedule_text

BEFORE_LINKAGE = {"metric": "x", "weighting": "masked-saliency", "pooling": "tokens"}


@pytest.mark.parametrize(
    ("merge", "text"),
    [
        (None, "none"),
        (MergeConfig(r=[9, 5]).to_dict(), "r=9,5 linkage=ward"),
        (MergeConfig(r=[9, 5], linkage="cosine").to_dict(), "r=9,5 linkage=cosine"),
        (MergeConfig(ratio=[0.25], score="sharpness").to_dict(), "ratio=0.25 score=sharpness"),
        (MergeConfig(r=[9], score=None, metric="keys").to_dict(), "r=9 metric=keys"),
        (
            MergeConfig(r=[9], score="received", protect=0.3, spare_norms=4).to_dict(),
            "r=9 score=received protect=0.3 spare_norms=4.0",
        ),
        ({"r": [9], "score": "sharpness", **BEFORE_LINKAGE}, "r=9 score=sharpness"),
        ({"r": [9], "score": None, **BEFORE_LINKAGE}, "r=9 linkage=cosine"),
    ],
)
def test_a_schedule_names_its_counts_and_the_choices_that_do_not_follow(
    merge: dict[str, Any] | None, text: str
) -> None:
    assert schedule_text(merge) == text
