"""Qwen-VL: budgets, which become counts at each number of patches."""

from functools import partial
from typing import Any

import pytest
from support.every_family import equal
from support.tiny_qwen import TOWERS, VIDEO_OF_THREE, outputs, patches, tower

import vidtldr
from vidtldr.budget.counts import forward_costs
from vidtldr.config import MergeConfig
from vidtldr.hosts.registry import find_host
from vidtldr.measure.flops import count_flops


@pytest.mark.parametrize(
    ("name", "score"),
    [("Qwen3VL", "representation-shift"), *((name, "sharpness") for name in TOWERS)],
)
def test_flop_budgets_agree_with_the_counter(name: str, score: Any) -> None:
    config = MergeConfig(r=(5, 0, 4), score=score)
    model = tower(name)
    costs = forward_costs(find_host(model), config, num_mergeable=24)
    inputs = patches(VIDEO_OF_THREE)
    assert count_flops(lambda: outputs(model, inputs)) == 3 * costs.flops()
    vidtldr.apply_patch(model, config)
    assert count_flops(lambda: outputs(model, inputs)) == 3 * costs.flops(config.r)


@pytest.mark.parametrize("flop_ratio", [0.6, 0.8])
def test_a_flop_budget_is_met_at_every_size(flop_ratio: float) -> None:
    model = tower("Qwen3VL", depth=8)
    calls = [patches([(2, 8, 8)]), patches([(1, 6, 10), (1, 10, 6)]), patches([(1, 2, 4)])]
    unmerged = [count_flops(partial(outputs, model, each)) for each in calls]
    vidtldr.apply_patch(model, flop_ratio=flop_ratio)
    for _ in range(2):
        for inputs, full in zip(calls, unmerged, strict=True):
            with vidtldr.trace(model) as trace:
                share = count_flops(partial(outputs, model, inputs)) / full
            assert share <= flop_ratio
            num_places = trace.source.shape[1]
            one_token = 1 / num_places  # of 8 layers: one more would be too many
            assert share > flop_ratio - one_token
            assert set(trace.layers) <= set(range(6))
    described = vidtldr.describe(model)
    assert (described.r, described.num_tokens, described.flop_ratio) == (None, None, None)
    assert "flop_ratio" in str(described)


def test_a_budget_uses_the_layers_that_it_is_given() -> None:
    model = vidtldr.apply_patch(tower("Qwen3VL"), flop_ratio=0.8, layers=[1, 3])
    assert "forward" not in vars(find_host(model).blocks[0])
    with vidtldr.trace(model) as trace:
        outputs(model, patches(VIDEO_OF_THREE))
    assert set(trace.layers) <= {1, 3}
    assert trace.num_tokens[0] == 24 > trace.num_tokens[1]
    with pytest.raises(ValueError, match=r"`layers` must be in \[0, 3\]"):
        vidtldr.apply_patch(model, flop_ratio=0.8, layers=[4])


def test_a_budget_that_a_size_cannot_meet_names_the_limit() -> None:
    model = tower("Qwen3VL")
    before = outputs(model, patches(VIDEO_OF_THREE))
    vidtldr.apply_patch(model, flop_ratio=0.1)
    with pytest.raises(
        ValueError, match=r"`flop_ratio` must be at least 0\.\d+ where layers 0, 1, 2"
    ):
        outputs(model, patches(VIDEO_OF_THREE))
    assert equal(outputs(vidtldr.remove_patch(model), patches(VIDEO_OF_THREE)), before)


@pytest.mark.parametrize("budget", [{"num_tokens": 12}, {"speedup": 1.2}])
def test_other_budgets_need_a_fixed_number_of_tokens(budget: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must be used on a model of a fixed number of tokens"):
        vidtldr.apply_patch(tower("Qwen3VL"), **budget)
