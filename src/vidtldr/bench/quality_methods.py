"""The methods that the quality benchmark compares, and their settings at a budget."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import torch
from torch import nn

from vidtldr.baselines.baseline import (
    FewerFrames,
    LowerResolution,
    Merging,
    Unmerged,
    Variant,
)
from vidtldr.baselines.schedules import (
    PAPER,
    Layers,
    front_loaded,
    merging,
    placement,
    random_dropping,
)
from vidtldr.bench.merging_methods import ABLATION_NAMES, MERGING_METHODS, SPREAD_METHODS
from vidtldr.budget.costs import default_layers
from vidtldr.measure.flops import count_flops
from vidtldr.measure.fork_rng import fork_rng
from vidtldr.models.umt.vision import VisionEncoder

__all__ = [
    "ABLATIONS",
    "METHODS",
    "Cell",
    "Method",
    "cell_at",
    "merging_method",
    "paper_setting",
    "plan",
    "validate_cells",
    "vision_flops",
]


@dataclass(frozen=True)
class Method:
    """A way to save FLOPs.

    Attributes:
        name: Name in tables.
        variant_at: Returns its setting for a model, a FLOP ratio and the layers that may merge;
            raises ValueError if the budget cannot be met.
        chooses_layers: Whether it merges in the layers that are passed; others have their own.
    """

    name: str
    variant_at: Callable[[Any, float, Layers], Variant]
    chooses_layers: bool = True


@dataclass(frozen=True)
class Cell:
    """A method at a budget.

    Attributes:
        method: Name of the method.
        layers: The layers that may merge, 0-based; None where not applicable.
        budget: Upper limit on the FLOPs, as a share of the unmerged forward's.
        variant: The setting; None if the budget cannot be met.
        unreachable: Why the budget cannot be met; None if it can.
    """

    method: str
    layers: Layers | None
    budget: float
    variant: Variant | None
    unreachable: str | None = None


def paper_setting(encoder: VisionEncoder, budget: float, _: Layers) -> Merging:
    """Return vid-TLDR from the first layer on, with the paper's shares."""
    return front_loaded(encoder, budget, placement(0), score="sharpness")


def fewer_frames(encoder: VisionEncoder, budget: float, _: Layers) -> Variant:
    """Keep as many frames as the budget allows."""
    options = [FewerFrames(count) for count in range(encoder.config.num_frames - 1, 0, -1)]
    return _costliest(encoder, budget, "fewer frames", options)


def lower_resolution(encoder: VisionEncoder, budget: float, _: Layers) -> Variant:
    """Keep as many patches per frame as the budget allows."""
    size, patch = encoder.config.image_size, encoder.config.patch_size
    options = [LowerResolution(side) for side in range(size - patch, 0, -patch)]
    return _costliest(encoder, budget, "lower resolution", options)


def merging_method(name: str) -> Method:
    """Return a method of `MERGING_METHODS`; its layers share out the removed tokens evenly."""
    return Method(name, partial(merging, **MERGING_METHODS[name]))


def spread_method(name: str) -> Method:
    """Return a method of `SPREAD_METHODS`, in the layers of the default, pooled by mass."""
    choices = {"pooling": "mass", **SPREAD_METHODS[name]}
    return Method(name, partial(_spread_out, merging, **choices), chooses_layers=False)


def _spread_out(
    meet: Callable[..., Variant], encoder: VisionEncoder, budget: float, _: Layers, **choices: Any
) -> Variant:
    """Return what `meet` chooses for a budget in the layers of the default."""
    return meet(encoder, budget, default_layers(len(encoder.blocks), "ward"), **choices)


#: vid-TLDR without one of its two parts; without both it is plain merging on x.
ABLATIONS = tuple(merging_method(name) for name in ABLATION_NAMES)
METHODS = (
    *map(spread_method, SPREAD_METHODS),
    Method("default by tokens", partial(_spread_out, merging), chooses_layers=False),
    Method(PAPER, paper_setting, chooses_layers=False),
    *(merging_method(name) for name in MERGING_METHODS if name not in ABLATION_NAMES),
    Method("random dropping", random_dropping),
    Method(
        "random dropping (spread)",
        partial(_spread_out, random_dropping),
        chooses_layers=False,
    ),
    Method("fewer frames", fewer_frames, chooses_layers=False),
    Method("lower resolution", lower_resolution, chooses_layers=False),
)


def cell_at(model: nn.Module, method: Method, layers: Layers, budget: float) -> Cell:
    """Return a method at a budget, or why it cannot meet it."""
    where = layers if method.chooses_layers else None
    try:
        return Cell(method.name, where, budget, method.variant_at(model, budget, layers))
    except ValueError as error:  # arguments were checked before: the budget is too low
        return Cell(method.name, where, budget, None, str(error))


def plan(
    encoder: VisionEncoder,
    budgets: Sequence[float],
    placements: Sequence[Layers],
    methods: Collection[str] | None = None,
) -> list[Cell]:
    """Return every cell of the benchmark except the unmerged one.

    Args:
        encoder: The vision encoder.
        budgets: FLOP ratios, each in (0, 1).
        placements: Sets of layers that may merge; the ablation takes the first.
        methods: Names of the methods to include; None for all.

    Raises:
        ValueError: If a budget is out of range, or a layer or a method does not exist.
    """
    names = [method.name for method in (*METHODS, *ABLATIONS)]
    validate_cells(len(encoder.blocks), budgets, placements)
    unknown = sorted(set(methods or ()) - set(names))
    if unknown:
        raise ValueError(
            f"`methods` must be among {', '.join(names)}, got {', '.join(unknown)}. Check the name."
        )
    cells: list[Cell] = []
    for method in (*METHODS, *ABLATIONS):
        several = method.chooses_layers and method not in ABLATIONS
        cells += [
            cell_at(encoder, method, layers, budget)
            for layers in (placements if several else placements[:1])
            for budget in budgets
        ]
    return [cell for cell in cells if methods is None or cell.method in methods]


@lru_cache(maxsize=1024)
def vision_flops(encoder: VisionEncoder, variant: Variant) -> int:
    """Count the FLOPs of one clip's forward by running it; 1 MAC = 2 FLOPs."""
    config, weights = encoder.config, next(encoder.parameters())
    side = config.image_size
    clip = torch.zeros(1, config.num_frames, 3, side, side).to(weights)
    forward = variant.forward_of(encoder)
    with torch.inference_mode(), fork_rng(weights.device):
        return count_flops(lambda: forward(clip))


def _costliest(
    encoder: VisionEncoder, budget: float, name: str, options: Sequence[Variant]
) -> Variant:
    """Return the first of ever cheaper settings that fits the budget."""
    full = vision_flops(encoder, Unmerged())
    for option in options:
        ratio = vision_flops(encoder, option) / full
        if ratio <= budget:
            return option
    raise ValueError(
        f"`flop_ratio` must be at least {ratio:.3f} for {name}, got {budget}. Raise it."
    )


def validate_cells(depth: int, budgets: Sequence[float], placements: Sequence[Layers]) -> None:
    """Check budgets and layers.

    Args:
        depth: Layers of the model.
        budgets: FLOP ratios.
        placements: Sets of layers that may merge.

    Raises:
        ValueError: If a budget is not in (0, 1), or a layer does not exist.
    """
    for budget in budgets:
        if not 0 < budget < 1:
            raise ValueError(
                f"`budgets` must be in (0, 1), got {budget}. The unmerged model is always measured."
            )
    for layers in placements:
        if not layers or not 0 <= layers[0] <= layers[-1] < depth:
            raise ValueError(
                f"`layers` must be in [0, {depth - 1}] (the model's layers), got {list(layers)}. "
                "They count from 0."
            )
