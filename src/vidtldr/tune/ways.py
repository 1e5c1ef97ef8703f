"""What can be chosen: how a model merges, and how much of it fits a budget."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import ceil
from typing import Any, Literal, get_args

from torch import nn

from vidtldr.bench.peers import Merging
from vidtldr.bench.quality_methods import (
    PAPER_SHARES,
    Layers,
    dropping_costs,
    front_loaded,
    front_loaded_schedules,
    merging,
)
from vidtldr.hosts.budget import forward_costs
from vidtldr.hosts.config import SCORES, MergeConfig, Metric, Pooling, Score, Weighting
from vidtldr.hosts.host import Host
from vidtldr.hosts.registry import find_host
from vidtldr.method.budget import default_layers, even_schedules
from vidtldr.tune.trials import Setting

__all__ = ["Way", "first_ways", "flop_ratio_of", "lowest_flop_ratio", "places", "variants"]

Shares = Literal["even", "6:2:1"]
SHARES = {"even": merging, "6:2:1": front_loaded}
SCHEDULES = {"even": even_schedules, "6:2:1": front_loaded_schedules}


@dataclass(frozen=True)
class Way:
    """How to merge, without how much.

    Attributes:
        score: As in `MergeConfig`.
        metric: As in `MergeConfig`.
        layers: That merge, 0-based.
        weighting: As in `MergeConfig`.
        pooling: As in `MergeConfig`.
        shares: How layers share the tokens to remove: `"even"`, each the same share of its own, or
            as in the paper's schedule for MSRVTT, `"6:2:1"`.
    """

    score: Score | None
    metric: Metric
    layers: Layers
    weighting: Weighting = "masked-saliency"
    pooling: Pooling = "tokens"
    shares: Shares = "even"

    @property
    def name(self) -> str:
        """What tables call it: what differs from plain merging on x, in a few words."""
        parts: list[str] = [self.score or "plain merging"]
        parts += ["keys"] * (self.metric == "keys")
        parts += [self.weighting] * (self.weighting != "masked-saliency")
        parts += ["by mass"] * (self.pooling == "mass")
        parts += [self.shares] * (self.shares != "even")
        return ", ".join(parts)

    @property
    def choices(self) -> dict[str, Any]:
        """The fields of `MergeConfig` that it chooses."""
        names = ("score", "metric", "weighting", "pooling")
        return {name: getattr(self, name) for name in names}

    def at(self, model: nn.Module, flop_ratio: float) -> Merging:
        """The setting that costs at most this share of the FLOPs.

        Raises:
            ValueError: If these layers cannot save so much.
        """
        return SHARES[self.shares](model, flop_ratio, self.layers, **self.choices)


def places(num_layers: int) -> tuple[Layers, ...]:
    """Sets of layers that may merge: first ones as in the paper, later, apart, many, and one."""
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
    """Every score with x, and ToMe's keys without one, in every place."""
    methods: list[tuple[Score | None, Metric]] = [(score, "x") for score in SCORES]
    methods.append((None, "keys"))
    return [Way(score, metric, at) for score, metric in methods for at in places(num_layers)]


def variants(way: Way, host: Host) -> Iterator[list[Way]]:
    """Other values of each choice that `first_ways` leaves alone, a list for each choice."""
    other: Metric = "keys" if way.metric == "x" else "x"
    yield [replace(way, metric=other)]
    if way.score is not None:
        yield [replace(way, weighting=w) for w in get_args(Weighting) if w != way.weighting]
    if host.pooling_method is not None:
        yield [replace(way, pooling="tokens" if way.pooling == "mass" else "mass")]
    if 1 < len(way.layers) <= len(PAPER_SHARES):
        yield [replace(way, shares="6:2:1")]


def flop_ratio_of(model: nn.Module, setting: Setting) -> float:
    """FLOPs of the transformer with a setting over those without."""
    if isinstance(setting, Merging):
        costs, r = forward_costs(find_host(model), setting.config), setting.config.r or ()
    else:
        costs, r = dropping_costs(model), setting.r
    return costs.flops(r) / costs.flops()


def lowest_flop_ratio(model: nn.Module, way: Way) -> float:
    """The lowest share that its layers reach, rounded up to thousandths."""
    host = find_host(model)
    costs = forward_costs(host, MergeConfig(r=(), score=way.score, metric=way.metric))
    mergeable = costs.num_tokens - costs.num_prefix_tokens
    flops = min(costs.flops(r) for r in SCHEDULES[way.shares](mergeable, way.layers))
    return ceil(1000 * flops / costs.flops()) / 1000
