"""Choose how the bundled model merges, by a grid search on validation clips only."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from typing import Any, get_args

from vidtldr.baselines.baseline import Merging
from vidtldr.baselines.schedules import PAPER, Layers, front_loaded, merging, placement
from vidtldr.bench.quality import QualityOptions, Row, run_quality
from vidtldr.bench.quality_methods import METHODS, Cell, Method, cell_at
from vidtldr.config import (
    SALIENCY_WEIGHTINGS,
    SCORES,
    MergeConfig,
    Metric,
    Pooling,
    Score,
    Weighting,
)
from vidtldr.measure.result_store import ResultStore
from vidtldr.models.umt.vision import VisionEncoder
from vidtldr.shapes.model import ShapesUMT
from vidtldr.steps import OnStep, ignore_steps

__all__ = ["LAYER_SETS", "PresetChoice", "choose_preset"]

METRICS: tuple[Metric, ...] = ("x", "keys")  # random is not an option
SHARES = {"even": merging, "6:2:1": front_loaded}
#: Early, later, adjacent and spaced out; the number of layers determines each one's `r`.
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
    """The result of the grid search.

    Attributes:
        config: The best config, as counts.
        finalists: Rows measured on every seed, best first, including the paper's setting.
        grid: The other rows, measured on the first seed only, best first.
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
    on_step: OnStep = ignore_steps,
) -> PresetChoice:
    """Find the choices that best keep quality in a budget: the sum of recall, answers and labels.

    First try every score in every set of layers, pooled by mass, on the first seed; then the best
    few with every metric, weighting, pooling and split of `r`, on all seeds.

    Args:
        model: In evaluation mode, unmerged, on its device.
        options: How much to measure; nothing is timed, and every question is asked.
        store: As for `run_quality`.
        budget: FLOP ratio.
        layer_sets: Layers that may merge, 0-based.
        num_finalists: How many advance to the second round.
        on_step: As for `run_quality`.

    Raises:
        ValueError: If the split is not validation, or no cell of the grid can be reached.
    """
    if options.split != "validation":
        raise ValueError(
            f"split must be 'validation' where something is chosen, got {options.split!r}. Test "
            "clips are for showing it."
        )
    options = replace(options, num_rounds=0, questions="all")
    first_seed = replace(options, seeds=options.seeds[:1])
    encoder = model.vision_encoder
    cells = [_cell(encoder, budget, score, layers) for score, layers in product(SCORES, layer_sets)]
    cells = [cell for cell in cells if cell.variant is not None]
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
    """Vary a grid row over every metric, weighting and share, without duplicates."""
    assert row.setting is not None  # it was reachable
    score, layers = row.setting["score"], row.layers or ()
    weightings = SALIENCY_WEIGHTINGS if score is not None else ("masked-saliency",)
    cells = [
        _cell(encoder, budget, score, layers, *choice)
        for choice in product(METRICS, weightings, get_args(Pooling), SHARES)
    ]
    different = {
        cell.variant: cell for cell in reversed(cells) if isinstance(cell.variant, Merging)
    }
    return list(different.values())


def _best_first(rows: Any) -> list[Row]:
    return sorted(rows, key=_merit, reverse=True)


def _merit(row: Row) -> tuple[float, ...]:
    assert row.measures is not None  # it was reachable
    # Recall alone is nearly 100 % in a small gallery: rows would differ by a clip or two.
    known = sum(row.measures[name].mean for name in ("r1", "answering", "labels"))
    return known, row.measures["cosine"].mean
