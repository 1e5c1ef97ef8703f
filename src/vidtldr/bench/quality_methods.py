"""The methods that the quality benchmark compares, and their settings at a budget."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from typing import Any

import torch
from torch import nn

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
from vidtldr.hosts.fork_rng import fork_rng
from vidtldr.hosts.registry import find_host
from vidtldr.method.budget import ForwardCosts, r_for_flop_ratio
from vidtldr.models.umt.vision import VisionEncoder

__all__ = [
    "ABLATIONS",
    "METHODS",
    "PAPER",
    "PAPER_SHARES",
    "PRESET",
    "VID_TLDR",
    "Cell",
    "Chosen",
    "Layers",
    "Method",
    "cell_at",
    "dropping_costs",
    "front_loaded",
    "front_loaded_schedules",
    "merging",
    "paper_setting",
    "placement",
    "plan",
    "random_dropping",
    "vision_flops",
]

Layers = tuple[int, ...]
PAPER, VID_TLDR, PRESET = "paper's setting", "vid-TLDR", "bundled preset"
NUM_MERGING_LAYERS = 3  # in a row, as in most of the paper's schedules
CHOICES = ("score", "metric", "weighting", "pooling")
PAPER_SHARES = (6, 2, 1)  # how UMT-B's schedule for MSRVTT, 600, 200, 100, goes down


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


def merging(model: nn.Module, budget: float, layers: Layers, **choices: Any) -> Merging:
    """Merging to a budget; `choices` are fields of `MergeConfig`."""
    config = MergeConfig(flop_ratio=budget, layers=layers, **choices)
    return Merging(resolve_budget(config, find_host(model)))


def front_loaded(model: nn.Module, budget: float, layers: Layers, **choices: Any) -> Merging:
    """As `merging`, but three layers share the tokens to remove as in the paper: 6 : 2 : 1."""
    config = MergeConfig(flop_ratio=budget, layers=layers, **choices)
    costs = forward_costs(find_host(model), config)
    ratio = 1.0
    for r in front_loaded_schedules(costs.num_tokens - costs.num_prefix_tokens, layers):
        ratio = costs.flops(r) / costs.flops()
        if ratio <= budget:
            return Merging(replace(config, flop_ratio=None, layers=None, r=r))
    raise ValueError(f"flop_ratio must be at least {ratio:.3f} in these shares, got {budget}.")


def front_loaded_schedules(num_mergeable: int, layers: Layers) -> Iterator[tuple[int, ...]]:
    """Schedules of those shares, from one token in the first layer to half of them."""
    for most in range(1, num_mergeable // 2 + 1):
        r = [0] * (layers[-1] + 1)
        for layer, share in zip(layers, PAPER_SHARES, strict=False):
            r[layer] = most * share // PAPER_SHARES[0]
        yield tuple(r)


def paper_setting(model: nn.Module, budget: float, _: Layers) -> Merging:
    """vid-TLDR from the first layer on, with the paper's shares."""
    return front_loaded(model, budget, placement(0))


def random_dropping(model: nn.Module, budget: float, layers: Layers) -> RandomDropping:
    """Dropping to a budget."""
    return RandomDropping(r_for_flop_ratio(dropping_costs(model), budget, layers))


def dropping_costs(model: nn.Module) -> ForwardCosts:
    """FLOPs with random dropping: as of merging, but no pairs are matched, which costs nothing."""
    costs = forward_costs(find_host(model), MergeConfig(r=(), score=None))
    free = tuple(replace(layer, match_per_pair=0) for layer in costs.layers)
    return replace(costs, layers=free)


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
    Method(PAPER, paper_setting, chooses_layers=False),
    Method(VID_TLDR, partial(merging, score="sharpness")),
    Method("attention received", partial(merging, score="received")),
    Method("flatness", partial(merging, score="flatness")),
    Method("sharpness per head", partial(merging, score="sharpness-per-head")),
    Method("representation shift", partial(merging, score="representation-shift")),
    Method("plain merging on x", partial(merging, score=None)),
    Method("vid-TLDR by mass", partial(merging, pooling="mass")),
    Method("plain by mass", partial(merging, score=None, pooling="mass")),
    Method("ToMe (keys)", partial(merging, score=None, metric="keys")),
    Method("random merging", partial(merging, score=None, metric="random")),
    Method("random dropping", random_dropping),
    Method("fewer frames", fewer_frames, chooses_layers=False),
    Method("lower resolution", lower_resolution, chooses_layers=False),
)
#: vid-TLDR without one of its halves; without both it is plain merging on x.
ABLATIONS = (
    Method("no drop mask", partial(merging, weighting="saliency")),
    Method("no sharpening", partial(merging, weighting="mask")),
)


@dataclass(frozen=True)
class Chosen:
    """How the bundled model merges.

    Attributes:
        merge: The bundled preset; its choices and layers hold at every budget that has none of its
            own.
        by_budget: What was chosen on validation clips for a budget, as counts.
    """

    merge: MergeConfig
    by_budget: Mapping[float, MergeConfig] = field(default_factory=dict)

    def cell_at(self, encoder: VisionEncoder, budget: float) -> Cell:
        """The preset at a budget, or why it cannot meet it."""
        own = self.by_budget.get(budget)
        if own is not None:
            return Cell(PRESET, _merging_layers(own), budget, Merging(own))
        choices = {name: getattr(self.merge, name) for name in CHOICES}
        method = Method(PRESET, partial(merging, **choices))
        return cell_at(encoder, method, _merging_layers(self.merge), budget)

    def to_dict(self) -> dict[str, Any]:
        """Both, ready for JSON."""
        own = {str(budget): config.to_dict() for budget, config in self.by_budget.items()}
        return {"merge": self.merge.to_dict(), "by_budget": own}


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
    chosen: Chosen,
    methods: Collection[str] | None = None,
) -> list[Cell]:
    """Every cell of the benchmark but the unmerged one.

    Args:
        encoder: The vision encoder.
        budgets: FLOP ratios, each in (0, 1).
        placements: Sets of layers that may merge; the ablation takes the first.
        chosen: The bundled preset.
        methods: Names of those wanted; None for all.

    Raises:
        ValueError: If a budget is out of range, or a layer or a method is not there.
    """
    names = (PRESET, *(method.name for method in (*METHODS, *ABLATIONS)))
    _validate(encoder, budgets, placements)
    unknown = sorted(set(methods or ()) - set(names))
    if unknown:
        raise ValueError(
            f"methods must be of {', '.join(names)}, got {', '.join(unknown)}. Check the name."
        )
    cells = [chosen.cell_at(encoder, budget) for budget in budgets]
    for method in (*METHODS, *ABLATIONS):
        several = method.chooses_layers and method not in ABLATIONS
        cells += [
            cell_at(encoder, method, layers, budget)
            for layers in (placements if several else placements[:1])
            for budget in budgets
        ]
    return [cell for cell in cells if methods is None or cell.method in methods]


@lru_cache(maxsize=1024)
def vision_flops(encoder: VisionEncoder, peer: Peer) -> int:
    """FLOPs of one clip's forward, counted by running it; 1 MAC = 2 FLOPs."""
    config, weights = encoder.config, next(encoder.parameters())
    side = config.image_size
    clip = torch.zeros(1, config.num_frames, 3, side, side, device=weights.device)
    forward = peer.forward_of(encoder)
    with torch.inference_mode(), fork_rng(weights.device):
        return count_flops(lambda: forward(clip))


def _merging_layers(config: MergeConfig) -> Layers:
    if config.is_budget:
        return tuple(config.layers or placement(0))
    return tuple(layer for layer, entry in enumerate(config.schedule) if entry)


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
