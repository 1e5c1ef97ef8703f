"""Choose how the bundled model merges: a grid on validation clips alone."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from typing import Any, get_args

from vidtldr.bench.peers import Merging
from vidtldr.bench.quality import OnStep, QualityOptions, Row, run_quality
from vidtldr.bench.quality_methods import (
    METHODS,
    PAPER,
    Cell,
    Layers,
    Method,
    cell_at,
    front_loaded,
    merging,
    placement,
)
from vidtldr.bench.result_store import ResultStore
from vidtldr.hosts.config import SCORES, MergeConfig, Metric, Pooling, Score, Weighting
from vidtldr.models.umt.vision import VisionEncoder
from vidtldr.shapes.model import ShapesUMT

__all__ = ["LAYER_SETS", "PresetChoice", "choose_preset"]

METRICS: tuple[Metric, ...] = ("x", "keys")  # chance is no choice
SHARES = {"even": merging, "6:2:1": front_loaded}
#: Early, later, in a row and apart; how many layers share the work decides each one's `r`.
LAYER_SETS: tuple[Layers, ...] = (
    (0,),
    (0, 1),
    (0, 1, 2),
    (0, 2, 4),
    (1,),
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
        config: The best, as counts.
        finalists: Those measured on every seed, best first, and the paper's setting among them.
        grid: The others, on the first seed alone, best first.
    """

    config: MergeConfig
    finalists: tuple[Row, ...]
    grid: tuple[Row, ...]


def choose_preset(
    model: ShapesUMT,
    options: QualityOptions,
    store: ResultStore,
    budget: float,
    *,
    layer_sets: Sequence[Layers] = LAYER_SETS,
    num_finalists: int = 3,
    on_step: OnStep = lambda *_: None,
) -> PresetChoice:
    """Find the choices that keep most within a budget: the sum of recall, answers and labels.

    First every score in every set of layers, pooled by mass, on the first seed; then the best few
    with every metric, weighting, pooling and way to share out `r`, on all seeds.

    Args:
        model: In evaluation mode, unmerged, on its device.
        options: How much to measure; nothing is timed.
        store: As for `run_quality`.
        budget: FLOP ratio.
        layer_sets: Layers that may merge, 0-based.
        num_finalists: How many go on to the second round.
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
    first_seed = replace(options, seeds=options.seeds[:1])
    encoder = model.vision_encoder
    cells = [_cell(encoder, budget, score, layers) for score, layers in product(SCORES, layer_sets)]
    cells = [cell for cell in cells if cell.peer is not None]
    if not cells:
        raise ValueError(
            f"layer_sets must reach a FLOP ratio of {budget}, got {list(layer_sets)}. Let more or "
            "earlier layers merge."
        )
    grid = _best_first(run_quality(model, cells, first_seed, store, on_step).rows)
    finals = [cell for row in grid[:num_finalists] for cell in _variants(encoder, budget, row)]
    paper = next(method for method in METHODS if method.name == PAPER)
    finals.append(cell_at(encoder, paper, placement(0), budget))
    rows = run_quality(model, finals, options, store, on_step).rows
    finalists = _best_first(row for row in rows if row.measures is not None)
    best = next(row for row in finalists if row.method != PAPER)
    setting = dict(best.setting or {})
    del setting["kind"]
    return PresetChoice(MergeConfig.from_dict(setting), tuple(finalists), tuple(grid))


def _cell(
    encoder: VisionEncoder,
    budget: float,
    score: Score | None,
    layers: Layers,
    metric: Metric = "x",
    weighting: Weighting = "masked-saliency",
    pooling: Pooling = "mass",
    shares: str = "even",
) -> Cell:
    choices: dict[str, Any] = {
        "score": score,
        "metric": metric,
        "weighting": weighting,
        "pooling": pooling,
    }
    name = ", ".join((score or "no score", metric, weighting, pooling, shares))
    return cell_at(encoder, Method(name, partial(SHARES[shares], **choices)), layers, budget)


def _variants(encoder: VisionEncoder, budget: float, row: Row) -> list[Cell]:
    """A row of the grid with every metric, weighting and share, as far as they differ."""
    assert row.setting is not None  # it was reachable
    score, layers = row.setting["score"], row.layers or ()
    weightings = get_args(Weighting) if score is not None else ("masked-saliency",)
    cells = [
        _cell(encoder, budget, score, layers, *choice)
        for choice in product(METRICS, weightings, get_args(Pooling), SHARES)
    ]
    different = {cell.peer: cell for cell in reversed(cells) if isinstance(cell.peer, Merging)}
    return list(different.values())


def _best_first(rows: Any) -> list[Row]:
    return sorted(rows, key=_merit, reverse=True)


def _merit(row: Row) -> tuple[float, ...]:
    assert row.measures is not None  # it was reachable
    # Recall alone is nearly full in a small gallery: rows would differ by a clip or two.
    known = sum(row.measures[name].mean for name in ("r1", "answering", "labels"))
    return known, row.measures["cosine"].mean
