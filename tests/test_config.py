import dataclasses
import json
from typing import Any, get_args

import pytest
from support.tiny_models import videomae

import vidtldr
from vidtldr import MergeConfig
from vidtldr import config as config_module
from vidtldr.hosts.token_score import ATTENTION_SCORES, WEIGHTINGS
from vidtldr.ops.attention import api


def test_the_config_is_frozen_hashable_and_holds_tuples() -> None:
    config = MergeConfig(r=[6, 2])
    assert config.r == (6, 2)
    assert hash(config) == hash(MergeConfig(r=(6, 2)))
    assert [field.name for field in dataclasses.fields(config)] == [
        "r",
        "ratio",
        "flop_ratio",
        "num_tokens",
        "speedup",
        "layers",
        "score",
        "metric",
        "linkage",
        "weighting",
        "protect",
        "spare_norms",
        "pooling",
        "output",
        "impl",
        "preset",
        "made_for",
        "measured",
    ]
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.r = (1,)  # type: ignore[misc]


def test_choices_are_those_of_attend() -> None:
    assert set(ATTENTION_SCORES.values()) == set(get_args(api.AttentionScore))
    assert set(get_args(config_module.Score)) - set(ATTENTION_SCORES) == {"representation-shift"}
    assert set(WEIGHTINGS) == set(get_args(config_module.Weighting))
    assert get_args(config_module.Impl) == get_args(api.AttentionImpl)


def test_a_ratio_is_rounded_down_and_counts_the_tokens_then() -> None:
    config = MergeConfig(ratio=[0.25, 0.2, 0.1])
    tokens = [128]
    for layer in range(4):
        tokens.append(tokens[-1] - config.num_removed(layer, tokens[-1]))
    assert tokens == [128, 96, 77, 70, 70]


@pytest.mark.parametrize(
    ("fields", "error", "message"),
    [
        ({}, ValueError, r"`speedup` and `preset` must be given .* got none"),
        ({"r": [1], "ratio": [0.1]}, ValueError, r"must be given one at a time, got r and ratio\."),
        ({"flop_ratio": 0.6, "num_tokens": 9}, ValueError, r"got flop_ratio and num_tokens\."),
        ({"r": [1], "layers": [0]}, ValueError, r"`layers` must come with `flop_ratio`, `num_t"),
        ({"flop_ratio": "0.6"}, TypeError, r"`flop_ratio` must be a number, got '0.6'"),
        ({"speedup": "1.5"}, TypeError, r"`speedup` must be a number, got '1.5'"),
        ({"speedup": 0.9}, ValueError, r"`speedup` must be at least 1 .* got 0\.9\."),
        ({"speedup": float("inf")}, ValueError, r"`speedup` must be at least 1 .* got inf\."),
        ({"speedup": 10**400}, ValueError, r"`speedup` must be at least 1 .* got 1000"),
        ({"ratio": [10**400]}, ValueError, r"`ratio\[0\]` must be in \[0, 0.5\] .* got 1000"),
        ({"flop_ratio": True}, TypeError, r"`flop_ratio` must be a number, got True"),
        ({"flop_ratio": 0}, ValueError, r"`flop_ratio` must be in \(0, 1\] .* got 0\."),
        ({"flop_ratio": 1.01}, ValueError, r"`flop_ratio` must be in \(0, 1\] .* got 1.01"),
        ({"flop_ratio": float("nan")}, ValueError, r"`flop_ratio` must be in \(0, 1\] .* got nan"),
        ({"num_tokens": 9.5}, TypeError, r"`num_tokens` must be an int, got 9.5. For a share"),
        ({"num_tokens": 0}, ValueError, r"`num_tokens` must be at least 1, got 0"),
        ({"num_tokens": 9, "layers": 3}, TypeError, r"`layers` must be a sequence .* got 3"),
        (
            {"num_tokens": 9, "layers": "012"},
            TypeError,
            r"`layers` must be a sequence .* got '012'",
        ),
        ({"num_tokens": 9, "layers": [0.5]}, TypeError, r"`layers` must hold ints, got 0.5"),
        (
            {"num_tokens": 9, "layers": []},
            ValueError,
            r"`layers` must name at least one .* got \[\]",
        ),
        ({"num_tokens": 9, "layers": [1, 0]}, ValueError, r"`layers` must .* increase from 0, got"),
        ({"num_tokens": 9, "layers": [1, 1]}, ValueError, r"`layers` must .* increase from 0, got"),
        ({"num_tokens": 9, "layers": [-1]}, ValueError, r"`layers` must .* increase from 0, got"),
        ({"r": 8}, TypeError, r"`r` must be a sequence .* got 8. Write `r=\[600, 200, 100\]`"),
        ({"r": "600,200"}, TypeError, r"`r` must be a sequence"),
        (
            {"r": [0.25]},
            TypeError,
            r"`r\[0\]` must be an int, got 0.25. For a share of the tokens use `ratio`",
        ),
        ({"r": [3, -1]}, ValueError, r"`r\[1\]` must be at least 0, got -1"),
        ({"ratio": 0.5}, TypeError, r"`ratio` must be a sequence"),
        ({"ratio": [0.6]}, ValueError, r"`ratio\[0\]` must be in \[0, 0.5\] .* got 0.6"),
        (
            {"ratio": [0.1, float("nan")]},
            ValueError,
            r"`ratio\[1\]` must be in \[0, 0.5\] .* got nan",
        ),
        ({"ratio": ["a"]}, TypeError, r"`ratio\[0\]` must be a number, got 'a'"),
        (
            {"r": [1], "score": "entropy"},
            ValueError,
            r"score must be one of \('sharpness', .*'representation-shift', None\)",
        ),
        (
            {"r": [1], "metric": "values"},
            ValueError,
            r"metric must be one of \('x', 'keys', 'random'\), got 'values'",
        ),
        (
            {"r": [1], "weighting": "softmax"},
            ValueError,
            r"weighting must be one of \('masked-saliency', .* 'mass'\), got 'softmax'",
        ),
        ({"r": [1], "impl": "cuda"}, ValueError, r"impl must be one of .*'blocked'.* got 'cuda'"),
    ],
)
def test_what_cannot_be_meant_is_refused(
    fields: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        MergeConfig(**fields)
    with pytest.raises(error, match=message):
        vidtldr.apply_patch(videomae(), **fields)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"r": [25]},
            r"`r\[0\]` must be in \[0, 24\] \(half of 48 mergeable tokens\), got 25. Lower `r`",
        ),
        ({"r": [24, 13]}, r"`r\[1\]` must be in \[0, 12\] \(half of 24 mergeable tokens\), got 13"),
        ({"r": [1] * 5}, r"`r` must have at most 4 entries \(the model's layers\), got 5"),
        ({"ratio": [0.1] * 5}, r"`ratio` must have at most 4 entries"),
    ],
)
def test_a_schedule_that_does_not_fit_the_model_is_refused_when_applied(
    fields: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        vidtldr.apply_patch(videomae(), **fields)


def test_a_schedule_at_the_limit_is_accepted() -> None:
    model = vidtldr.apply_patch(videomae(), r=[24, 12, 6, 3])
    with vidtldr.trace(model) as trace:
        from support.tiny_models import clips

        model(pixel_values=clips())
    assert trace.num_tokens == [24, 12, 6, 3]


def test_config_and_keywords_are_two_ways_and_only_one_at_a_time() -> None:
    vidtldr.apply_patch(videomae(), MergeConfig(r=[3]))
    vidtldr.apply_patch(videomae(), config=MergeConfig(r=[3]))
    with pytest.raises(ValueError, match="config and its fields must not be given together, got"):
        vidtldr.apply_patch(videomae(), MergeConfig(r=[3]), impl="blocked")
    with pytest.raises(
        TypeError, match=r"config must be a MergeConfig, or the name of a .* got \[3\]"
    ):
        vidtldr.apply_patch(videomae(), [3])  # type: ignore[arg-type]
    with pytest.raises(
        TypeError, match=r"keywords must be fields of MergeConfig .* got \['rate'\]"
    ):
        vidtldr.apply_patch(videomae(), rate=[3])  # type: ignore[call-arg]


def test_integers_of_numpy_are_counts_too() -> None:
    import numpy as np

    assert MergeConfig(r=[np.int64(6), 2]).r == (6, 2)
    assert MergeConfig(ratio=[np.float32(0.25)]).ratio == (0.25,)
    budget = MergeConfig(num_tokens=np.int64(9), layers=[np.int32(1)])
    assert budget == MergeConfig(num_tokens=9, layers=(1,))
    assert json.loads(json.dumps(budget.to_dict()))["layers"] == [1]
    assert MergeConfig(flop_ratio=np.float32(0.5)).flop_ratio == 0.5


CONFIGS = [
    MergeConfig(r=[6, 2]),
    MergeConfig(ratio=[0.25], score=None, impl="reference"),
    MergeConfig(flop_ratio=0.6, layers=[0, 2], score="flatness", metric="keys", weighting="mask"),
    MergeConfig(num_tokens=30, score="representation-shift"),
]


@pytest.mark.parametrize("config", CONFIGS)
def test_json_gives_the_same_config_back(config: MergeConfig) -> None:
    values = json.loads(json.dumps(config.to_dict()))
    assert MergeConfig.from_dict(values) == config
    assert hash(MergeConfig.from_dict(values)) == hash(config)
    assert values["score"] == config.score
    assert len({"r", "ratio", "flop_ratio", "num_tokens"} & set(values)) == 1


def test_fields_that_are_missing_have_their_defaults() -> None:
    assert MergeConfig.from_dict({"r": [3]}) == MergeConfig(r=[3])


@pytest.mark.parametrize(
    ("values", "error", "message"),
    [
        (
            {"r": [3], "metrics": "x"},
            ValueError,
            r"keys must be fields of MergeConfig \(r, .*got \[",
        ),
        ({3: 3, "metrics": "x"}, ValueError, r"keys must be fields .*got \['metrics', 3\]"),
        ([3], TypeError, r"values must map fields of MergeConfig to values, got \[3\]"),
        ({"score": "sharpness"}, ValueError, "must be given one at a time, got none"),
        ({"r": "600,200"}, TypeError, "`r` must be a sequence"),
        ({"r": [3], "score": "none"}, ValueError, "score must be one of .* got 'none'"),
        ({"r": [3], "score": []}, ValueError, "score must be one of"),
    ],
)
def test_values_that_are_no_config_are_refused(
    values: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        MergeConfig.from_dict(values)
