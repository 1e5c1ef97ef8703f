"""Rows for sharp attention beside flat: negligible probabilities must not cost time."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from vidtldr.bench.never_slower.gain import (
    MERGED,
    UNMERGED,
    Runs,
    gain_figures,
    pair_of,
    timed,
)
from vidtldr.bench.never_slower.model_rows import NEVER_SLOWER
from vidtldr.bench.never_slower.workloads import videomae_384
from vidtldr.bench.row import Row, Settings, Target
from vidtldr.measure.timing import paired_ratios

__all__ = ["sharp_rows", "sharp_sweep_rows"]

FLAT = 1
FACTORS, SWEEP = (FLAT, 12), (FLAT, 3, 10, 30)
NUM_LAYERS = 6
AS_FLAT = Target("gain_over_flat", at_least=0.9)  # "the same gain within 10 %"


def sharp_rows(settings: Settings) -> Iterator[Row]:
    """Queries and keys times 12 beside unscaled ones, one thread."""
    title = f"VideoMAE, width 384, {NUM_LAYERS} layers, one thread"
    yield from _rows_of("sharp", title, FACTORS, settings)


def sharp_sweep_rows(settings: Settings) -> Iterator[Row]:
    """From flat to the sharpest, one thread."""
    yield from _rows_of("sharp-sweep", "the same, a sweep", SWEEP, settings)


def _rows_of(name: str, title: str, factors: Sequence[int], settings: Settings) -> Iterator[Row]:
    """Time all factors in turn in the same rounds, so that their gains are comparable."""
    with _one_thread():
        pairs = {factor: _pair_of(factor, settings) for factor in factors}
        runs = {(f, side): run for f, (found, _) in pairs.items() for side, run in found.items()}
        named = {f"{factor} {side}": run for (factor, side), run in runs.items()}
        timings = timed(named, settings)
    flat = paired_ratios(timings[f"{FLAT} {UNMERGED}"], timings[f"{FLAT} {MERGED}"])["median"]
    for factor, (_, details) in pairs.items():
        sides = {side: timings[f"{factor} {side}"] for side in (UNMERGED, MERGED)}
        figures = gain_figures(sides[UNMERGED], sides[MERGED], details["flops"])
        gain = figures["gain"]
        assert isinstance(gain, dict)
        figures["gain_over_flat"] = {each: ratio / flat for each, ratio in gain.items()}
        times = {side: timing.times_ms for side, timing in sides.items()}
        target = NEVER_SLOWER if factor == FLAT else AS_FLAT
        row = f"{name}-{factor}", f"{title}, queries and keys x {factor}"
        yield Row(*row, figures, target, details | {"times_ms": times})


def _pair_of(factor: int, settings: Settings) -> tuple[Runs, dict[str, Any]]:
    return pair_of(videomae_384(settings.tiny, num_layers=NUM_LAYERS, sharpness=factor))


@contextmanager
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
