"""Quality of the bundled model at each share of its FLOPs, method by method."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from vidtldr.baselines.baseline import Unmerged, Variant
from vidtldr.bench.merging_methods import VID_TLDR
from vidtldr.bench.outcomes import Difference, Outcomes, paired_difference
from vidtldr.bench.quality_methods import Cell, vision_flops
from vidtldr.bench.quality_options import QualityOptions
from vidtldr.bench.quality_result import QualityResult, Row, Spread, spread
from vidtldr.bench.quality_timing import time_variants
from vidtldr.bench.quality_workers import Examiner, Task, measure_tasks
from vidtldr.bench.seed_exam import HARD_KINDS
from vidtldr.measure.environment import device_name
from vidtldr.measure.result_store import ResultStore
from vidtldr.models.umt.vision import VisionEncoder
from vidtldr.shapes.language import KINDS
from vidtldr.shapes.model import ShapesUMT
from vidtldr.steps import OnStep, ignore_steps
from vidtldr.tasks.fingerprint import module_sha256

__all__ = ["FIGURES", "run_quality"]

#: Each figure, and the outcomes of `SeedExam.measure` that are pooled for it.
FIGURES: dict[str, tuple[str, ...]] = {
    "r1": ("text_to_video", "video_to_text"),
    "text_to_video_r1": ("text_to_video",),
    "video_to_text_r1": ("video_to_text",),
    "hard_answers": HARD_KINDS,
    "answering": KINDS,
    "labels": ("labels",),
    "hard_labels": ("hard_labels",),
}
Measured = Sequence[Mapping[str, Any]]  # the results of one setting, seed by seed


def run_quality(
    model: ShapesUMT,
    cells: Sequence[Cell],
    options: QualityOptions,
    store: ResultStore,
    on_step: OnStep = ignore_steps,
    *,
    num_jobs: int = 1,
) -> QualityResult:
    """Measure every setting once per seed, however many cells share the setting.

    Args:
        model: In evaluation mode, unmerged, on its device.
        cells: Cells from `plan`.
        options: How much to measure.
        store: Holds earlier measurements and stores new ones.
        on_step: Called after each measurement with its name, the number done and the total; those
            that the store held do not count.
        num_jobs: Number of processes, each with one thread; 1 measures in this process.
    """
    variants = _distinct(
        [Unmerged(), *(cell.variant for cell in cells if cell.variant is not None)]
    )
    measured = _measure(model, list(variants.values()), options, store, on_step, num_jobs)
    timings = time_variants(
        model.vision_encoder, variants, options.num_rounds, _identity(model), store, on_step
    )
    unmerged = Cell("unmerged", None, 1.0, Unmerged())
    full = vision_flops(model.vision_encoder, Unmerged())
    outcomes = {name: _pooled(by_seed) for name, by_seed in measured.items()}
    rows = [
        _row(cell, model.vision_encoder, full, measured, outcomes, timings)
        for cell in (unmerged, *cells)
    ]
    config = model.config
    num_tokens = config.num_frames * (config.image_size // config.patch_size) ** 2
    seconds = (sum(one["seconds"].values()) for each in measured.values() for one in each)
    return QualityResult(
        unmerged=rows[0],
        rows=tuple(_with_comparisons(rows[1:], outcomes)),
        gflops=full / 1e9,
        num_tokens=num_tokens,
        seconds=sum(seconds),
        options=options,
    )


def _distinct(variants: Iterable[Variant]) -> dict[str, Variant]:
    return {str(variant.to_dict()): variant for variant in variants}


def _identity(model: ShapesUMT) -> dict[str, Any]:
    """Describe what a measurement depends on besides the setting."""
    weights = next(model.parameters())
    return {
        "weights": module_sha256(model),
        "dtype": str(weights.dtype).removeprefix("torch."),
        "device": device_name(weights.device),
    }


def _measure(
    model: ShapesUMT,
    variants: Sequence[Variant],
    options: QualityOptions,
    store: ResultStore,
    on_step: OnStep,
    num_jobs: int,
) -> dict[str, Measured]:
    """Measure what the store lacks; return all measurements, keyed by the setting."""
    keys = _keys(model, variants, options)
    missing = [task for task, key in keys.items() if key not in store]
    if missing:
        on_step("measuring", 0, len(missing))
    done = measure_tasks(model, options, missing, num_jobs)
    for count, (task, value) in enumerate(done, start=1):
        store.add(keys[task], value)
        on_step("measuring", count, len(missing))
    return {
        str(variant.to_dict()): [store[keys[seed, variant]] for seed in options.seeds]
        for variant in variants
    }


def _keys(
    model: ShapesUMT, variants: Sequence[Variant], options: QualityOptions
) -> dict[Task, dict[str, Any]]:
    """Return the key of each measurement, seed by seed, the unmerged model first."""
    how = {**_identity(model), "batch": options.batch_size, "questions": options.questions}
    examiner = Examiner(model, options)
    return {
        (seed, variant): {
            **how,
            "clips": examiner.exam_of(seed).fingerprint,
            "seed": seed,
            "setting": variant.to_dict(),
        }
        for seed in options.seeds
        for variant in variants
    }


def _pooled(by_seed: Measured) -> dict[str, Outcomes]:
    """Pool the outcomes of all seeds, for each figure that every seed has queries for."""
    found = [each["outcomes"] for each in by_seed]
    return {
        name: Outcomes.read([[each[part] for part in parts] for each in found])
        for name, parts in FIGURES.items()
        if all(_was_asked(each, parts) for each in found)
    }


def _was_asked(outcomes: Mapping[str, str], parts: Sequence[str]) -> bool:
    return set(parts) <= set(outcomes) and any(outcomes[part].strip() for part in parts)


def _row(
    cell: Cell,
    encoder: VisionEncoder,
    full_flops: int,
    measured: Mapping[str, Measured],
    outcomes: Mapping[str, dict[str, Outcomes]],
    timings: Mapping[str, dict[str, float]],
) -> Row:
    if cell.variant is None:
        return Row(cell.method, cell.layers, cell.budget, unreachable=cell.unreachable)
    setting = cell.variant.to_dict()
    own, unmerged = outcomes[str(setting)], outcomes[str(Unmerged().to_dict())]
    return Row(
        method=cell.method,
        layers=cell.layers,
        budget=cell.budget,
        setting=setting,
        flop_ratio=vision_flops(encoder, cell.variant) / full_flops,
        measures=_spreads(measured[str(setting)], list(own)),
        change=_differences(own, unmerged),
        timing=timings.get(str(setting)),
    )


def _spreads(by_seed: Measured, names: Sequence[str]) -> dict[str, Spread]:
    outcomes = [_pooled([each]) for each in by_seed]
    spreads = {name: spread(each[name].percent for each in outcomes) for name in names}
    return {**spreads, "cosine": spread(each["cosine"] for each in by_seed)}


def _with_comparisons(
    rows: Sequence[Row], outcomes: Mapping[str, dict[str, Outcomes]]
) -> Iterable[Row]:
    """Compare each row with the best at its budget, figure by figure, and with vid-TLDR."""
    for row in rows:
        if row.setting is None:
            yield row
            continue
        here = [each for each in rows if each.budget == row.budget and each.setting is not None]
        peers = [outcomes[str(each.setting)] for each in here]
        own = outcomes[str(row.setting)]
        best = {name: max((peer[name] for peer in peers), key=_percent) for name in own}
        papers = [each for each in here if each.method == VID_TLDR]
        papers.sort(key=lambda each: each.layers != row.layers)  # the same layers first
        yield replace(
            row,
            behind_best=_differences(own, best),
            over_vid_tldr=_differences(own, outcomes[str(papers[0].setting)]) if papers else None,
        )


def _differences(
    own: Mapping[str, Outcomes], other: Mapping[str, Outcomes]
) -> dict[str, Difference]:
    return {name: paired_difference(own[name], other[name]) for name in own}


def _percent(outcomes: Outcomes) -> float:
    return outcomes.percent
