"""The methods that the quality benchmark compares, and their settings at a budget."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch

from vidtldr.bench.flops import count_flops
from vidtldr.bench.peers import (
    FewerFrames,
    LowerResolution,
    Merging,
    Peer,
    RandomDropping,
    Unmerged,
)
from vidtldr.hosts.budget import forward_costs, resolve_budget
from vidtldr.hosts.config import MergeConfig
from vidtldr.hosts.registry import find_host
from vidtldr.method.budget import r_for_flop_ratio
from vidtldr.models.umt.vision import VisionEncoder

__all__ = [
    "ABLATIONS",
    "METHODS",
    "PAPER",
    "PRESET",
    "Cell",
    "Layers",
    "Method",
    "cell_at",
    "placement",
    "plan",
    "preset_method",
    "vision_flops",
]

Layers = tuple[int, ...]
PAPER, PRESET = "vid-TLDR", "bundled preset"
NUM_MERGING_LAYERS = 3  # in a row, as in most of the paper's schedules


@dataclass(frozen=True)
class Method:
    """A way to save FLOPs.

    Attributes:
        name: What tables call it.
        peer_at: Its setting for an encoder, a FLOP ratio and the layers that may merge; raises
            ValueError where the budget cannot be met.
        chooses_layers: Whether the layers mean something to it.
    """

    name: str
    peer_at: Callable[[VisionEncoder, float, Layers], Peer]
    chooses_layers: bool = True


@dataclass(frozen=True)
class Cell:
    """A method at a budget.

    Attributes:
        method: Its name.
        layers: The layers that may merge, 0-based; None where that means nothing.
        budget: The most FLOPs, as a share of the unmerged forward's.
        peer: The setting; None if the budget cannot be met.
        unreachable: Why it cannot.
    """

    method: str
    layers: Layers | None
    budget: float
    peer: Peer | None
    unreachable: str | None = None


def merging(encoder: VisionEncoder, budget: float, layers: Layers, **choices: Any) -> Merging:
    """Merging to a budget; `choices` are fields of `MergeConfig`."""
    config = MergeConfig(flop_ratio=budget, layers=layers, **choices)
    return Merging(resolve_budget(config, find_host(encoder)))


def random_dropping(encoder: VisionEncoder, budget: float, layers: Layers) -> RandomDropping:
    """Dropping to a budget: as merging, but no pairs are matched, which costs nothing then."""
    host = find_host(encoder)
    costs = forward_costs(host, MergeConfig(flop_ratio=budget, score=None))
    free = tuple(replace(layer, match_per_pair=0) for layer in costs.layers)
    return RandomDropping(r_for_flop_ratio(replace(costs, layers=free), budget, layers))


def fewer_frames(encoder: VisionEncoder, budget: float, _: Layers) -> Peer:
    """As many frames as the budget allows."""
    options = [FewerFrames(count) for count in range(encoder.config.num_frames - 1, 0, -1)]
    return _costliest(encoder, budget, "fewer frames", options)


def lower_resolution(encoder: VisionEncoder, budget: float, _: Layers) -> Peer:
    """As many patches a frame as the budget allows."""
    size, patch = encoder.config.image_size, encoder.config.patch_size
    options = [LowerResolution(side) for side in range(size - patch, 0, -patch)]
    return _costliest(encoder, budget, "lower resolution", options)


METHODS = (
    Method(PAPER, partial(merging, score="sharpness")),
    Method("attention received", partial(merging, score="received")),
    Method("flatness", partial(merging, score="flatness")),
    Method("sharpness per head", partial(merging, score="sharpness-per-head")),
    Method("representation shift", partial(merging, score="representation-shift")),
    Method("plain merging on x", partial(merging, score=None)),
    Method("ToMe (keys)", partial(merging, score=None, metric="keys")),
    Method("random merging", partial(merging, score=None, metric="random")),
    Method("random dropping", random_dropping),
    Method("fewer frames", fewer_frames, chooses_layers=False),
    Method("lower resolution", lower_resolution, chooses_layers=False),
)
#: vid-TLDR without one of its halves; without both it is plain merging on x.
ABLATIONS = (
    Method("vid-TLDR, no drop mask", partial(merging, weighting="saliency")),
    Method("vid-TLDR, no sharpening", partial(merging, weighting="mask")),
)


def preset_method(preset: MergeConfig) -> tuple[Method, Layers]:
    """A preset as a method: its own choices and layers, whatever the budget.

    Args:
        preset: Names its layers, by `layers` or by `r` or `ratio` where they are not 0.

    Raises:
        ValueError: If it does not.
    """
    layers = preset.layers
    if layers is None and not preset.is_budget:
        layers = [layer for layer, entry in enumerate(preset.schedule) if entry]
    if not layers:
        raise ValueError(
            f"preset must name the layers that merge, got {preset.to_dict()}. Add layers or r."
        )
    choices: dict[str, Any] = {
        "score": preset.score,
        "metric": preset.metric,
        "weighting": preset.weighting,
    }
    return Method(PRESET, partial(merging, **choices)), tuple(layers)


def placement(first_layer: int) -> Layers:
    """The layers that merge where merging starts at one of them, 0-based."""
    return tuple(range(first_layer, first_layer + NUM_MERGING_LAYERS))


def cell_at(encoder: VisionEncoder, method: Method, layers: Layers, budget: float) -> Cell:
    """A method at a budget, or why it cannot meet it."""
    where = layers if method.chooses_layers else None
    try:
        return Cell(method.name, where, budget, method.peer_at(encoder, budget, layers))
    except ValueError as error:  # arguments are checked before, so it is the budget
        return Cell(method.name, where, budget, None, str(error))


def plan(
    encoder: VisionEncoder,
    budgets: Sequence[float],
    placements: Sequence[Layers],
    preset: MergeConfig | None = None,
) -> list[Cell]:
    """Every cell of the benchmark but the unmerged one.

    Args:
        encoder: The vision encoder.
        budgets: FLOP ratios, each in (0, 1).
        placements: Sets of layers that may merge; the ablation takes the first.
        preset: The choices of the bundled model, if there are any.

    Raises:
        ValueError: If a budget is out of range or a layer is not there.
    """
    _validate(encoder, budgets, placements)
    rows: list[tuple[Method, Layers]] = [] if preset is None else [preset_method(preset)]
    for method in METHODS:
        where = placements if method.chooses_layers else placements[:1]
        rows += [(method, layers) for layers in where]
    rows += [(method, placements[0]) for method in ABLATIONS]
    return [cell_at(encoder, *row, budget) for row in rows for budget in budgets]


def vision_flops(encoder: VisionEncoder, peer: Peer) -> int:
    """FLOPs of one clip's forward, counted by running it; 1 MAC = 2 FLOPs."""
    config, weights = encoder.config, next(encoder.parameters())
    side = config.image_size
    clip = torch.zeros(1, config.num_frames, 3, side, side, device=weights.device)
    forward = peer.forward_of(encoder)
    with torch.inference_mode(), torch.random.fork_rng():
        return count_flops(lambda: forward(clip))


def _costliest(encoder: VisionEncoder, budget: float, name: str, options: Sequence[Peer]) -> Peer:
    """The first of ever cheaper settings that the budget allows."""
    full = vision_flops(encoder, Unmerged())
    for option in options:
        ratio = vision_flops(encoder, option) / full
        if ratio <= budget:
            return option
    raise ValueError(f"flop_ratio must be at least {ratio:.3f} for {name}, got {budget}. Raise it.")


def _validate(
    encoder: VisionEncoder, budgets: Sequence[float], placements: Sequence[Layers]
) -> None:
    depth = len(encoder.blocks)
    for budget in budgets:
        if not 0 < budget < 1:
            raise ValueError(
                f"budgets must be in (0, 1), got {budget}. The unmerged model, 1, is always there."
            )
    for layers in placements:
        if not layers or not 0 <= layers[0] <= layers[-1] < depth:
            raise ValueError(
                f"layers must be in [0, {depth - 1}] (the model's layers), got {list(layers)}. "
                "They count from 0."
            )
