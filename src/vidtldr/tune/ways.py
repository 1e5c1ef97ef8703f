"""The search space: how a model merges, and how much merging meets a budget."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import ceil
from typing import Any, Literal

from torch import nn

from vidtldr.baselines.baseline import Merging
from vidtldr.baselines.schedules import (
    PAPER_SHARES,
    Layers,
    dropping_costs,
    front_loaded,
    front_loaded_schedules,
    merging,
)
from vidtldr.budget.costs import default_layers, even_schedules
from vidtldr.budget.counts import forward_costs
from vidtldr.config import (
    SALIENCY_WEIGHTINGS,
    SCORES,
    MergeConfig,
    Metric,
    Pooling,
    Score,
    Weighting,
)
from vidtldr.hosts.host import Host
from vidtldr.hosts.registry import find_host
from vidtldr.tune.trials import Setting

__all__ = ["Way", "first_ways", "flop_ratio_of", "lowest_flop_ratio", "places", "variants"]

Shares = Literal["even", "6:2:1"]
SHARES = {"even": merging, "6:2:1": front_loaded}
SCHEDULES = {"even": even_schedules, "6:2:1": front_loaded_schedules}


@dataclass(frozen=True)
class Way:
    """How to merge, but not how much.

    Attributes:
        score: As in `MergeConfig`.
        metric: As in `MergeConfig`.
        layers: The layers that merge, 0-based.
        weighting: As in `MergeConfig`.
        pooling: As in `MergeConfig`.
        shares: How the removed tokens are spread over the layers: `"even"`, each layer the same
            share of its own tokens, or `"6:2:1"`, as in the paper's schedule for MSRVTT.
    """

    score: Score | None
    metric: Metric
    layers: Layers
    weighting: Weighting = "masked-saliency"
    pooling: Pooling = "tokens"
    shares: Shares = "even"

    @property
    def name(self) -> str:
        """Its name in tables: how it differs from plain merging on x."""
        parts: list[str] = [self.score or "plain merging"]
        parts += ["keys"] * (self.metric == "keys")
        parts += [self.weighting] * (self.weighting != "masked-saliency")
        parts += ["by mass"] * (self.pooling == "mass")
        parts += [self.shares] * (self.shares != "even")
        return ", ".join(parts)

    @property
    def choices(self) -> dict[str, Any]:
        """The `MergeConfig` fields that it sets."""
        names = ("score", "metric", "weighting", "pooling")
        return {name: getattr(self, name) for name in names}

    def at(self, model: nn.Module, flop_ratio: float) -> Merging:
        """Return the setting that costs at most this share of the FLOPs.

        Raises:
            ValueError: If these layers cannot save enough.
        """
        return SHARES[self.shares](model, flop_ratio, self.layers, **self.choices)


def places(num_layers: int) -> tuple[Layers, ...]:
    """Sets of layers that may merge: first as in the paper, later, spaced out, many, and one."""
    quarter = len(default_layers(num_layers))
    found = (
        range(quarter),
        range(1, 1 + quarter),
        range(quarter, 2 * quarter),
        range(0, 2 * quarter, 2),
        range(2 * quarter),
        range(1),
    )
    inside = (tuple(layer for layer in place if layer < num_layers) for place in found)
    return tuple(dict.fromkeys(place for place in inside if place))


def first_ways(num_layers: int) -> list[Way]:
    """Every score with metric x, and ToMe's keys without a score, in every set of layers."""
    methods: list[tuple[Score | None, Metric]] = [(score, "x") for score in SCORES]
    methods.append((None, "keys"))
    return [Way(score, metric, at) for score, metric in methods for at in places(num_layers)]


def variants(way: Way, host: Host) -> Iterator[list[Way]]:
    """Other values of the choices that `first_ways` leaves fixed, one list per choice."""
    other: Metric = "keys" if way.metric == "x" else "x"
    yield [replace(way, metric=other)]
    if way.score is not None:
        yield [replace(way, weighting=w) for w in SALIENCY_WEIGHTINGS if w != way.weighting]
    if host.pooling_method is not None:
        yield [replace(way, pooling="tokens" if way.pooling == "mass" else "mass")]
    if 1 < len(way.layers) <= len(PAPER_SHARES):
        yield [replace(way, shares="6:2:1")]


def flop_ratio_of(model: nn.Module, setting: Setting) -> float:
    """Return the transformer's FLOPs with a setting over those without."""
    if isinstance(setting, Merging):
        costs, r = forward_costs(find_host(model), setting.config), setting.config.r or ()
    else:
        costs, r = dropping_costs(model), setting.r
    return costs.flops(r) / costs.flops()


def lowest_flop_ratio(model: nn.Module, way: Way) -> float:
    """Return the lowest FLOP ratio its layers can reach, rounded up to thousandths."""
    host = find_host(model)
    costs = forward_costs(host, MergeConfig(r=(), score=way.score, metric=way.metric))
    mergeable = costs.num_tokens - costs.num_prefix_tokens
    flops = min(costs.flops(r) for r in SCHEDULES[way.shares](mergeable, way.layers))
    return ceil(1000 * flops / costs.flops()) / 1000
