"""Choose how the bundled model merges: a grid over scores and layers, on validation clips alone."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from vidtldr.bench.peers import Merging
from vidtldr.bench.quality import OnStep, QualityOptions, Row, run_quality
from vidtldr.bench.quality_methods import METHODS, PAPER, Layers, cell_at, placement
from vidtldr.bench.result_store import ResultStore
from vidtldr.hosts.config import MergeConfig
from vidtldr.shapes.model import ShapesUMT

__all__ = ["CHOICES", "LAYER_SETS", "PresetChoice", "choose_preset"]

TARGET_BUDGET = 0.6
OTHER_BUDGETS = (0.7, 0.5)
NUM_FINALISTS = 5

#: Every method that merges by similarity; chance is no choice.
CHOICES = tuple(
    method for method in METHODS if method.chooses_layers and not method.name.startswith("random")
)
#: Early, later, in a row and apart; how many layers share the work decides each one's `r`.
LAYER_SETS: tuple[Layers, ...] = (
    (0, 1),
    (0, 1, 2),
    (0, 2, 4),
    (1, 2),
    (1, 2, 3),
    (1, 2, 3, 4),
    (1, 3),
    (2, 3),
    (2, 3, 4),
)


@dataclass(frozen=True)
class PresetChoice:
    """What the grid says.

    Attributes:
        config: The best, as a budget; ready to be written as the preset.
        rows: Every row that was measured, best first at 0.6, then those at the other budgets.
    """

    config: MergeConfig
    rows: tuple[Row, ...]


def choose_preset(
    model: ShapesUMT,
    options: QualityOptions,
    store: ResultStore,
    *,
    layer_sets: Sequence[Layers] = LAYER_SETS,
    on_step: OnStep = lambda *_: None,
) -> PresetChoice:
    """Find the choices that keep most recall at a FLOP ratio of 0.6; ties go by answers, labels.

    The best five and the paper's own are measured at 0.7 and 0.5 too, to be looked at.

    Args:
        model: In evaluation mode, unmerged, on its device.
        options: How much to measure; nothing is timed.
        store: As for `run_quality`.
        layer_sets: Layers that may merge, 0-based.
        on_step: As for `run_quality`.

    Raises:
        ValueError: If the split is not validation, or no cell of the grid can be reached.
    """
    if options.split != "validation":
        raise ValueError(
            f"split must be 'validation' where something is chosen, got {options.split!r}. Test "
            "clips are for showing it."
        )
    options = replace(options, num_rounds=0)
    encoder = model.vision_encoder
    grid = [(method, layers) for method in CHOICES for layers in layer_sets]
    cells = [cell_at(encoder, *place, TARGET_BUDGET) for place in grid]
    reachable = [cell for cell in cells if cell.peer is not None]
    if not reachable:
        raise ValueError(
            f"layer_sets must reach a FLOP ratio of {TARGET_BUDGET}, got {list(layer_sets)}. Let "
            "more or earlier layers merge."
        )
    rows = sorted(run_quality(model, reachable, options, store, on_step).rows, key=_merit)[::-1]
    names = {method.name: method for method in CHOICES}
    finalists = [(row.method, row.layers or ()) for row in rows[:NUM_FINALISTS]]
    shown = dict.fromkeys([*finalists, (PAPER, placement(0))])
    others = [
        cell_at(encoder, names[name], layers, budget)
        for name, layers in shown
        for budget in OTHER_BUDGETS
    ]
    more = run_quality(model, others, options, store, on_step).rows
    best = next(c for c in reachable if (c.method, c.layers) == finalists[0])
    assert isinstance(best.peer, Merging)
    config = replace(best.peer.config, r=None, flop_ratio=TARGET_BUDGET, layers=best.layers)
    return PresetChoice(config, (*rows, *more))


def _merit(row: Row) -> tuple[Any, ...]:
    assert row.measures is not None  # it was reachable
    return tuple(row.measures[name].mean for name in ("r1", "answering", "labels"))
