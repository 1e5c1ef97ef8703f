"""Rows for whole models: large and small, in both dtypes, at one clip and at several."""

from collections.abc import Callable, Iterator

import torch

from vidtldr.bench.never_slower.gain import MERGED, UNMERGED, gain_figures, pair_of, timed
from vidtldr.bench.never_slower.workloads import (
    Workload,
    at_budget,
    bundled,
    umt_b,
    videomae_384,
    videomae_b,
    vit_like,
)
from vidtldr.bench.row import Row, Settings, Target
from vidtldr.config import Score

__all__ = [
    "NEVER_SLOWER",
    "budget_bfloat16_rows",
    "budget_rows",
    "bundled_rows",
    "example_rows",
    "gain_row",
    "umt_b_bfloat16_rows",
    "umt_b_rows",
    "videomae_384_rows",
    "videomae_b_bfloat16_rows",
    "videomae_b_rows",
    "vit_rows",
]

#: The target of every row without a stricter one.
NEVER_SLOWER = Target("gain", at_least=1.0)
LARGE_MODEL = Target("gain", at_least=1.9)  # "a VideoMAE-B-sized model at least 1.9x"
EXAMPLE_SHARPNESS = 12  # of `examples/01_demo.py`
BUNDLED_TARGETS = {1: Target("gain", at_least=1.35), 4: NEVER_SLOWER, 8: NEVER_SLOWER}
VIT_TARGETS = {1: 0.85, 8: 0.93}  # share of the FLOP reduction, by batch
BUDGET_MODELS = {"umt-b": umt_b, "videomae-b": videomae_b}
# Both ways to spend a budget that README compares.
BUDGET_SCORES: dict[str, Score | None] = {"default": None, "vid-TLDR": "sharpness"}
VIT_WIDTHS, VIT_SIDES = (384, 768), (224, 448)


def umt_b_rows(settings: Settings) -> Iterator[Row]:
    """UMT-B in float32."""
    yield gain_row("umt-b-float32", umt_b(settings.tiny), settings, NEVER_SLOWER)


def videomae_b_rows(settings: Settings) -> Iterator[Row]:
    """VideoMAE-B in float32."""
    yield gain_row("videomae-b-float32", videomae_b(settings.tiny), settings, LARGE_MODEL)


def umt_b_bfloat16_rows(settings: Settings) -> Iterator[Row]:
    """UMT-B in bfloat16, both sides."""
    yield _in_bfloat16("umt-b-bfloat16", umt_b, settings)


def videomae_b_bfloat16_rows(settings: Settings) -> Iterator[Row]:
    """VideoMAE-B in bfloat16, both sides."""
    yield _in_bfloat16("videomae-b-bfloat16", videomae_b, settings)


def budget_rows(settings: Settings) -> Iterator[Row]:
    """UMT-B and VideoMAE-B at 0.6 of their FLOPs, merged by default and as vid-TLDR."""
    yield from _at_budget(settings, torch.float32)


def budget_bfloat16_rows(settings: Settings) -> Iterator[Row]:
    """The same in bfloat16, both sides."""
    yield from _at_budget(settings, torch.bfloat16)


def bundled_rows(settings: Settings) -> Iterator[Row]:
    """The bundled model at one clip and at several."""
    workload = bundled(settings.tiny)
    for batch, target in BUNDLED_TARGETS.items():
        yield gain_row(f"bundled-batch-{batch}", workload, settings, target, batch=batch)


def videomae_384_rows(settings: Settings) -> Iterator[Row]:
    """A small VideoMAE; `benchmarks/busy.py` measures it on a busy machine."""
    yield gain_row("videomae-384", videomae_384(settings.tiny), settings, NEVER_SLOWER)


def example_rows(settings: Settings) -> Iterator[Row]:
    """The model of `make example`: the small VideoMAE with sharp attention."""
    workload = videomae_384(settings.tiny, sharpness=EXAMPLE_SHARPNESS)
    title = "model of `make example`: weights of queries and keys x 12"
    yield gain_row("example", workload, settings, NEVER_SLOWER, title=title)


def vit_rows(settings: Settings) -> Iterator[Row]:
    """Image models of two widths and two sizes at about 0.6 of their FLOPs."""
    for width in VIT_WIDTHS:
        for side in VIT_SIDES:
            workload = vit_like(settings.tiny, width=width, image_size=side)
            for batch, share in VIT_TARGETS.items():
                target = Target("speedup_over_flop_reduction", at_least=share)
                name = f"vit-{width}-side-{side}-batch-{batch}"
                yield gain_row(name, workload, settings, target, batch=batch)


def gain_row(
    name: str,
    workload: Workload,
    settings: Settings,
    target: Target,
    *,
    batch: int = 1,
    dtype: torch.dtype = torch.float32,
    title: str | None = None,
) -> Row:
    """Measure one model, both sides in turn.

    Args:
        name: Name of the row.
        workload: The model and its merge.
        settings: Number of rounds.
        target: The target.
        batch: Clips per batch.
        dtype: Dtype of weights and input of both sides.
        title: Name in the table; None for the workload's title, dtype and batch.

    Raises:
        FloatingPointError: If an output is not finite.
    """
    runs, details = pair_of(workload, batch=batch, dtype=dtype)
    timings = timed(runs, settings)
    figures = gain_figures(timings[UNMERGED], timings[MERGED], details["flops"])
    times = {side: timing.times_ms for side, timing in timings.items()}
    title = title or f"{workload.title}, {details['dtype']}, batch {batch}"
    return Row(name, title, figures, target, details | {"times_ms": times})


def _at_budget(settings: Settings, dtype: torch.dtype) -> Iterator[Row]:
    short = str(dtype).removeprefix("torch.")
    for model, build in BUDGET_MODELS.items():
        for way, score in BUDGET_SCORES.items():
            workload = at_budget(build(settings.tiny), way, score, settings.tiny)
            name = f"{model}-{way.lower()}-{short}"
            yield gain_row(name, workload, settings, NEVER_SLOWER, dtype=dtype)


def _in_bfloat16(name: str, build: Callable[[bool], Workload], settings: Settings) -> Row:
    return gain_row(name, build(settings.tiny), settings, NEVER_SLOWER, dtype=torch.bfloat16)
