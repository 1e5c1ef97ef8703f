"""How many tokens merging and random dropping remove at a budget, and in which layers."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from torch import nn

from vidtldr.baselines.baseline import Merging, RandomDropping
from vidtldr.budget.costs import ForwardCosts, r_for_flop_ratio
from vidtldr.budget.counts import forward_costs, resolve_budget
from vidtldr.config import MergeConfig
from vidtldr.hosts.registry import find_host

__all__ = [
    "PAPER",
    "PAPER_SHARES",
    "Layers",
    "dropping_costs",
    "front_loaded",
    "front_loaded_schedules",
    "merging",
    "placement",
    "placements",
    "random_dropping",
]

Layers = tuple[int, ...]
PAPER = "paper's setting"  # vid-TLDR from the first layer on, with these shares
PAPER_SHARES = (6, 2, 1)  # the ratios of UMT-B's schedule for MSRVTT: 600, 200, 100
NUM_MERGING_LAYERS = 3  # in a row, as in most of the paper's schedules


def merging(model: nn.Module, budget: float, layers: Layers, **choices: Any) -> Merging:
    """Merge to meet a budget; `choices` are fields of `MergeConfig`."""
    config = MergeConfig(flop_ratio=budget, layers=layers, **choices)
    return Merging(resolve_budget(config, find_host(model)))


def front_loaded(model: nn.Module, budget: float, layers: Layers, **choices: Any) -> Merging:
    """Like `merging`, but three layers split the removed tokens as in the paper: 6 : 2 : 1."""
    config = MergeConfig(flop_ratio=budget, layers=layers, **choices)
    costs = forward_costs(find_host(model), config)
    ratio = 1.0
    for r in front_loaded_schedules(costs.num_tokens - costs.num_prefix_tokens, layers):
        ratio = costs.flops(r) / costs.flops()
        if ratio <= budget:
            return Merging(replace(config, flop_ratio=None, layers=None, r=r))
    raise ValueError(
        f"`flop_ratio` must be at least {ratio:.3f} in these shares, got {budget}. Raise it."
    )


def front_loaded_schedules(num_mergeable: int, layers: Layers) -> Iterator[tuple[int, ...]]:
    """Yield schedules of those shares, from one token in the first layer to half of them."""
    for most in range(1, num_mergeable // 2 + 1):
        r = [0] * (layers[-1] + 1)
        for layer, share in zip(layers, PAPER_SHARES, strict=False):
            r[layer] = most * share // PAPER_SHARES[0]
        yield tuple(r)


def random_dropping(model: nn.Module, budget: float, layers: Layers) -> RandomDropping:
    """Drop tokens to meet a budget."""
    return RandomDropping(r_for_flop_ratio(dropping_costs(model), budget, layers))


def dropping_costs(model: nn.Module) -> ForwardCosts:
    """Return the costs with random dropping: as with merging, but without the cost of matching."""
    costs = forward_costs(find_host(model), MergeConfig(r=(), score=None))
    free = tuple(replace(layer, match_per_pair=0) for layer in costs.layers)
    return replace(costs, layers=free)


def placement(first_layer: int) -> Layers:
    """Return the layers that merge if merging starts at a given layer, 0-based."""
    return tuple(range(first_layer, first_layer + NUM_MERGING_LAYERS))


def placements(first_layers: Sequence[int], num_layers: int) -> list[Layers]:
    """Return the layers that merge if merging starts at each of these, 0-based, each once.

    Raises:
        ValueError: If a model of so many layers ends before the last of them.
    """
    last = num_layers - NUM_MERGING_LAYERS
    for first in first_layers:
        if not 0 <= first <= last:
            raise ValueError(
                f"`first_layers` must be in [0, {last}] (the first of {NUM_MERGING_LAYERS} of the "
                f"model's {num_layers} layers), got {first}. They count from 0."
            )
    return [placement(first) for first in dict.fromkeys(first_layers)]
