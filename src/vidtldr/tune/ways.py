"""The search space: how a model merges, and how much merging meets a budget."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from math import ceil
from typing import Any, Literal, NamedTuple, Self, get_args

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
from vidtldr.config import SALIENCY_WEIGHTINGS, SCORES, MergeConfig, Pooling
from vidtldr.hosts.host import Host
from vidtldr.hosts.registry import find_host
from vidtldr.tune.trials import Setting

__all__ = [
    "OPTIONS",
    "Option",
    "Way",
    "default_way",
    "first_ways",
    "flop_ratio_of",
    "is_plain",
    "lowest_flop_ratio",
    "places",
    "variants",
]

Shares = Literal["even", "6:2:1"]
SHARES = {"even": merging, "6:2:1": front_loaded}
SCHEDULES = {"even": even_schedules, "6:2:1": front_loaded_schedules}

#: The fields of `MergeConfig` that say how to merge, not how much or where.
_METHOD = ("score", "metric", "linkage", "weighting", "protect", "spare_norms", "pooling", "impl")


class Option(NamedTuple):
    """A field of `MergeConfig` that the best ways are varied in.

    Attributes:
        field: Name of the field.
        values: The values to try; the first is that of the papers.
        label: Name in tables of any value but the first; `{}` stands for the value.
        is_open: Whether a method on a host has this choice.
        follows: A value that tables leave out, because it follows from another choice.
    """

    field: str
    values: tuple[Any, ...]
    label: str
    is_open: Callable[[MergeConfig, Host], bool]
    follows: Any = None


def _always(_: MergeConfig, __: Host) -> bool:
    return True


def _has_score(method: MergeConfig, _: Host) -> bool:
    return method.score is not None


def _compares_tokens(method: MergeConfig, _: Host) -> bool:
    return method.metric == "x"


def _can_pool(_: MergeConfig, host: Host) -> bool:
    return host.pooling_method is not None


#: Varied one at a time, in this order. A further option of `MergeConfig` is a further line.
OPTIONS = (
    Option("metric", ("x", "keys"), "{}", _always),
    Option("linkage", ("cosine", "ward"), "{}", _compares_tokens),
    Option("weighting", SALIENCY_WEIGHTINGS, "{}", _has_score, follows="mass"),
    Option("protect", (0.0, 0.3, 1.0), "protect {:g}", _has_score),
    Option("pooling", get_args(Pooling), "by {}", _can_pool),
)


@dataclass(frozen=True)
class Way:
    """How to merge, but not how much.

    Attributes:
        layers: The layers that merge, 0-based.
        method: The score and all other options, of a config that merges nothing (`r=()`).
        shares: How the removed tokens are spread over the layers: `"even"`, each layer the same
            share of its own tokens, or `"6:2:1"`, as in the paper's schedule for MSRVTT.
    """

    layers: Layers
    method: MergeConfig
    shares: Shares = "even"

    @classmethod
    def of(cls, layers: Layers, **options: Any) -> Self:
        """Return a way of even shares from options of `MergeConfig`; the rest are defaults."""
        return cls(layers, MergeConfig(r=(), **options))

    @property
    def name(self) -> str:
        """Name in tables: the score, then how it differs from the papers' method."""
        parts: list[str] = [self.method.score or "no score"]
        for option in OPTIONS:
            value = getattr(self.method, option.field)
            is_named = value not in (option.values[0], option.follows)
            parts += [option.label.format(value)] * is_named
        parts += [self.shares] * (self.shares != "even")
        return ", ".join(parts)

    def varied(self, **options: Any) -> "Way":
        """Return a copy with other options of `MergeConfig`."""
        return replace(self, method=self.method.choosing(**options))

    def at(self, model: nn.Module, flop_ratio: float) -> Merging:
        """Return the setting that costs at most this share of the FLOPs.

        Raises:
            ValueError: If these layers cannot save enough.
        """
        options = {name: getattr(self.method, name) for name in _METHOD}
        return SHARES[self.shares](model, flop_ratio, self.layers, **options)


def places(num_layers: int) -> tuple[Layers, ...]:
    """Sets of layers that may merge.

    In this order: the first quarter (the paper's), equally many that start later, more that start
    later, every second layer up to half or two thirds of the depth, the first half, the default's,
    and the first layer alone.
    """
    quarter = len(default_layers(num_layers))
    half, most = ceil(num_layers / 2), ceil(2 * num_layers / 3)
    found = (
        range(quarter),
        range(1, 1 + quarter),
        range(2, 2 + quarter),
        range(quarter, 2 * quarter),
        range(quarter, most),
        range(0, half, 2),
        range(1, half, 2),
        range(0, most, 2),
        range(1, most, 2),
        range(2 * quarter),
        default_layers(num_layers, "ward"),
        range(1),
    )
    inside = (tuple(layer for layer in place if layer < num_layers) for place in found)
    return tuple(dict.fromkeys(place for place in inside if place))


def first_ways(num_layers: int) -> list[Way]:
    """Every score with metric x, and ToMe's keys without a score, in every set of layers."""
    methods = [{"score": score} for score in SCORES] + [{"score": None, "metric": "keys"}]
    return [Way.of(at, **method) for method in methods for at in places(num_layers)]


def default_way(num_layers: int, pooling: Pooling) -> Way:
    """The way of a model that is patched without further choices."""
    return Way.of(default_layers(num_layers, "ward"), pooling=pooling)


def is_plain(method: MergeConfig) -> bool:
    """Whether the method needs neither a score nor keys, and so merges in the least time."""
    return method.score is None and method.metric == "x"


def variants(way: Way, host: Host) -> Iterator[list[Way]]:
    """Yield a list of alternatives for each choice that `first_ways` leaves fixed.

    The list is empty for a choice that the way does not have, so their number is always the same.
    """
    for option in OPTIONS:
        now = getattr(way.method, option.field)
        values = option.values if option.is_open(way.method, host) else ()
        yield [way.varied(**{option.field: value}) for value in values if value != now]
    can_share = 1 < len(way.layers) <= len(PAPER_SHARES)
    yield [replace(way, shares="6:2:1")] if can_share else []


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
    costs = forward_costs(host, way.method)
    mergeable = costs.num_tokens - costs.num_prefix_tokens
    flops = min(costs.flops(r) for r in SCHEDULES[way.shares](mergeable, way.layers))
    return ceil(1000 * flops / costs.flops()) / 1000
