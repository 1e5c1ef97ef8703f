"""The methods that the benchmark of dense outputs compares, and their settings at a budget."""

from collections.abc import Collection, Mapping, Sequence
from functools import partial
from typing import Any

from torch import nn

from vidtldr.baselines.schedules import PAPER, Layers, front_loaded, merging, placement
from vidtldr.bench.merging_methods import MERGING_METHODS, SPREAD_METHODS, VID_TLDR
from vidtldr.bench.quality_methods import Cell, Method, cell_at, validate_cells
from vidtldr.budget.costs import default_layers
from vidtldr.hosts.registry import find_host

__all__ = ["DENSE_METHODS", "plan_dense"]

#: Methods whose output has a token for every patch. Nothing pools such outputs, so those that pool
#: by mass are left out; so is random dropping, as dropped tokens have no features.
DENSE_METHODS: Mapping[str, Mapping[str, Any]] = {
    name: fields
    for name, fields in {
        **SPREAD_METHODS,
        PAPER: MERGING_METHODS[VID_TLDR],
        **MERGING_METHODS,
    }.items()
    if "pooling" not in fields
}


def plan_dense(
    backbone: nn.Module,
    budgets: Sequence[float],
    placements: Sequence[Layers],
    methods: Collection[str] | None = None,
) -> list[Cell]:
    """Return every cell of the benchmark except the unmerged one.

    Args:
        backbone: The unmerged model.
        budgets: FLOP ratios, each in (0, 1).
        placements: Sets of layers that may merge, for methods without layers of their own.
        methods: Names of `DENSE_METHODS` to include; None for all.

    Raises:
        ValueError: If a budget is out of range, or a layer or a method does not exist.
    """
    depth = len(find_host(backbone).blocks)
    validate_cells(depth, budgets, placements)
    unknown = sorted(set(methods or ()) - set(DENSE_METHODS))
    if unknown:
        raise ValueError(
            f"`methods` must be among {', '.join(DENSE_METHODS)}, got {', '.join(unknown)}. Check "
            "the name."
        )
    own = {name: [default_layers(depth, "ward")] for name in SPREAD_METHODS}
    own[PAPER] = [placement(0)]
    return [
        cell_at(backbone, _method(name), layers, budget)
        for name in DENSE_METHODS
        if methods is None or name in methods
        for layers in own.get(name, placements)
        for budget in budgets
    ]


def _method(name: str) -> Method:
    meet = front_loaded if name == PAPER else merging
    return Method(name, partial(meet, output="grid", **DENSE_METHODS[name]))
