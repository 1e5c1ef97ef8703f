"""What the choices of a config are by default, how they follow from each other, and old files."""

import json
from typing import Any

import numpy as np
import pytest
import torch

from vidtldr import MergeConfig
from vidtldr.config import Linkage, Score, Weighting

PRESET = "umt-b16/msrvtt-retrieval"


@pytest.mark.parametrize(
    ("fields", "score", "linkage", "weighting"),
    [
        ({"r": [3]}, None, "ward", "masked-saliency"),
        ({"flop_ratio": 0.6}, None, "ward", "masked-saliency"),
        ({"r": [3], "score": None}, None, "ward", "masked-saliency"),
        ({"r": [3], "metric": "keys"}, None, "cosine", "masked-saliency"),
        ({"r": [3], "metric": "random"}, None, "cosine", "masked-saliency"),
        ({"r": [3], "score": "sharpness"}, "sharpness", "cosine", "masked-saliency"),
        ({"r": [3], "score": "received", "metric": "keys"}, "received", "cosine", None),
        ({"r": [3], "score": "received", "protect": 0.3}, "received", "cosine", "mass"),
        ({"preset": PRESET}, "sharpness", "cosine", "masked-saliency"),
        ({"preset": PRESET, "metric": "keys"}, "sharpness", "cosine", "masked-saliency"),
        ({"preset": PRESET, "score": "flatness"}, "flatness", "cosine", "masked-saliency"),
        ({"preset": PRESET, "score": None}, None, "ward", "masked-saliency"),
        ({"preset": PRESET, "score": None, "metric": "keys"}, None, "cosine", None),
        ({"preset": PRESET, "protect": 0.3}, "sharpness", "cosine", "mass"),
    ],
)
def test_choices_that_nobody_made_follow_from_the_others(
    fields: dict[str, Any], score: Score | None, linkage: Linkage, weighting: Weighting | None
) -> None:
    config = MergeConfig(**fields)
    assert (config.score, config.linkage) == (score, linkage)
    assert config.weighting == (weighting or "masked-saliency")


def test_choices_that_were_made_stay() -> None:
    config = MergeConfig(r=[3], score="received", protect=1, linkage="ward", weighting="mask")
    assert (config.linkage, config.weighting, config.protect) == ("ward", "mask", 1.0)
    assert MergeConfig(r=[3], linkage="cosine").linkage == "cosine"
    assert MergeConfig(r=[3], metric="keys", linkage="ward").linkage == "ward"


@pytest.mark.parametrize(
    ("fields", "error", "message"),
    [
        ({"protect": "much"}, TypeError, r"`protect` must be a number, got 'much'\. Write 0\.3"),
        ({"protect": True}, TypeError, "`protect` must be a number, got True"),
        ({"protect": -0.1}, ValueError, r"`protect` must be in \[0, 100\] .* got -0\.1\."),
        ({"protect": 101}, ValueError, r"`protect` must be in \[0, 100\] .* got 101\."),
        ({"protect": float("nan")}, ValueError, r"`protect` must be in \[0, 100\] .* got nan"),
        ({"protect": 0.3, "score": None}, ValueError, r"`protect` must come .*or `protect=0`\."),
        ({"protect": None}, TypeError, r"`protect` must be a number, got None\. Write 0\.3, or 0"),
        ({"spare_norms": 10**400}, ValueError, "`spare_norms` must be above 1 .* got 1000"),
        ({"spare_norms": "4"}, TypeError, "`spare_norms` must be a number, got '4'. Write a fac"),
        ({"spare_norms": False}, TypeError, "`spare_norms` must be a number, got False"),
        ({"spare_norms": 1}, ValueError, r"`spare_norms` must be above 1 .* got 1\. Write a fac"),
        ({"spare_norms": float("inf")}, ValueError, "`spare_norms` must be above 1 .* got inf"),
        ({"weighting": "mass"}, ValueError, "`score` must be used, got 'received' with `weight"),
        ({"linkage": "mean"}, ValueError, r"linkage must be one of \('ward', 'cosine'\), got 'm"),
    ],
)
def test_choices_that_cannot_be_meant_are_refused(
    fields: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        MergeConfig(**{"r": [3], "score": "received", **fields})


@pytest.mark.parametrize("name", ["score", "metric", "linkage", "weighting", "pooling", "output"])
def test_a_choice_that_is_no_name_is_refused_with_the_names(name: str) -> None:
    for value in (["x", "auto"], np.array(["x", "auto"]), torch.zeros(2), True):
        with pytest.raises(ValueError, match=rf"{name} must be one of \(.*\), got .* Choose one"):
            MergeConfig(r=[3], **{name: value})


NEW = [
    MergeConfig(r=[6, 2]),
    MergeConfig(r=[6], linkage="cosine"),
    MergeConfig(r=[6], metric="keys"),
    MergeConfig(flop_ratio=0.6, spare_norms=4, layers=[0, 2]),
    MergeConfig(r=[6], score="received", protect=0.3, linkage="ward"),
    MergeConfig(r=[6], score="sharpness", protect=0.3, weighting="saliency", spare_norms=2.5),
    MergeConfig(preset=PRESET, protect=2),
]


@pytest.mark.parametrize("config", NEW, ids=repr)
def test_a_dict_gives_the_same_config_back(config: MergeConfig) -> None:
    values = json.loads(json.dumps(config.to_dict()))
    found = MergeConfig.from_dict(values)
    assert found == config
    assert found.to_dict() == config.to_dict()
    assert hash(found) == hash(config)


def test_repr_shows_what_was_chosen_and_nothing_that_follows() -> None:
    assert repr(MergeConfig(r=[6])) == "MergeConfig(r=(6,))"
    assert repr(MergeConfig(r=[6], score="received")) == "MergeConfig(r=(6,), score='received')"
    assert repr(MergeConfig(preset=PRESET)) == f"MergeConfig(preset={PRESET!r})"
    assert repr(MergeConfig(r=[6], linkage="cosine")) == "MergeConfig(r=(6,), linkage='cosine')"
    protected = MergeConfig(r=[6], score="received", protect=0.3)
    assert repr(protected) == "MergeConfig(r=(6,), score='received', protect=0.3)"


OLD = {"r": [6], "score": "sharpness", "metric": "x", "weighting": "masked-saliency"}


@pytest.mark.parametrize("score", ["sharpness", "received", None])
def test_a_dict_from_before_linkage_means_the_cosine(score: Score | None) -> None:
    old = {**OLD, "score": score, "pooling": "tokens", "impl": "auto"}
    config = MergeConfig.from_dict(old)
    assert (config.score, config.linkage, config.protect) == (score, "cosine", 0.0)
    assert config.spare_norms is None
    assert {**config.to_dict(), "r": [6]} == old  # indexes of then have the same settings


def test_a_dict_that_names_no_score_follows_the_default() -> None:
    assert MergeConfig.from_dict({"r": [6]}) == MergeConfig(r=[6])
    assert MergeConfig.from_dict({"preset": PRESET}).score == "sharpness"


def test_a_copy_with_other_choices_follows_them_as_a_new_config_does() -> None:
    plain, paper = MergeConfig(r=[6]), MergeConfig(r=[6], score="sharpness")
    assert plain.choosing(score="sharpness") == paper
    assert paper.choosing(score=None) == plain
    assert plain.choosing(metric="keys") == MergeConfig(r=[6], metric="keys")
    assert plain.choosing(metric="keys").choosing(metric="x") == plain
    protected = MergeConfig(r=[6], score="sharpness", protect=0.3)
    assert paper.choosing(protect=0.3) == protected
    assert protected.choosing(protect=0.0) == paper
    assert protected.choosing(score=None, protect=0.0) == plain
    assert plain.choosing() == plain
    preset = MergeConfig(preset=PRESET).choosing(score=None)
    assert (preset.preset, preset.score, preset.linkage) == (PRESET, None, "ward")


def test_a_copy_keeps_what_does_not_follow_and_what_is_named() -> None:
    cosine = MergeConfig(r=[6], linkage="cosine", spare_norms=4, pooling="mass")
    assert cosine.choosing(spare_norms=3.0).linkage == "cosine"
    again = cosine.choosing(score="received", linkage="ward", weighting="mask")
    assert (again.linkage, again.weighting) == ("ward", "mask")
    assert (again.spare_norms, again.pooling, again.r) == (4.0, "mass", (6,))
    own = MergeConfig(r=[6], score="received", linkage="ward", weighting="mask")
    assert own.choosing(score="received", metric="x", protect=0.0) == own  # nothing is another
    assert own.choosing(score="flatness").weighting == "mask"
    assert own.choosing(score="flatness").linkage == "cosine"
    alike = MergeConfig(r=[6], weighting="mass")
    assert alike.choosing(spare_norms=3.0).weighting == "mass"
    assert alike.choosing(score="received") == MergeConfig(r=[6], score="received")


def test_a_copy_is_refused_as_a_new_config_is() -> None:
    protected = MergeConfig(r=[6], score="sharpness", protect=0.3)
    with pytest.raises(ValueError, match="`protect` must come with a `score`"):
        protected.choosing(score=None)
    with pytest.raises(TypeError, match="scores"):
        protected.choosing(scores=None)
