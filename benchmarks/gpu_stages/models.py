"""Whole models in bfloat16: unmerged on each fused back-end, merged, ToMe, with stored maps."""

import copy
from collections.abc import Sequence
from statistics import median
from typing import Any

import torch
from torch import nn

from gpu_stages.backends import first_line, variants_on_backends
from gpu_stages.stage import Work
from gpu_stages.subjects import subject
from vidtldr.bench.speed import Setting, SpeedRow, forward_of, measure_setting
from vidtldr.bench.speed_variants import MERGED, UNMERGED, SpeedVariant, choose_variants
from vidtldr.config import MergeConfig
from vidtldr.measure.timing import paired_ratios
from vidtldr.patch.compiling import bring_plain_tensors

__all__ = ["measure_compiled", "measure_eager"]

DTYPE = "bfloat16"


def measure_eager(work: Work, name: str, batch: int) -> dict[str, Any]:
    """Measure a table of all eager variants."""
    config = MergeConfig(r=subject(name, is_smoke=work.sizes.is_smoke).r, score="sharpness")
    first, *others = choose_variants(config, [MERGED, "ToMe", "materialised"])
    return _measure(work, name, batch, [first, *variants_on_backends(), *others])


def measure_compiled(work: Work, name: str, batch: int) -> dict[str, Any]:
    """Measure compiled models, with CUDA graphs on a GPU, beside the eager ones."""
    config = MergeConfig(r=subject(name, is_smoke=work.sizes.is_smoke).r, score="sharpness")
    names = [MERGED, f"{MERGED}, compiled", f"{UNMERGED}, compiled"]
    return _measure(work, name, batch, choose_variants(config, names))


def _measure(work: Work, name: str, batch: int, variants: Sequence[SpeedVariant]) -> dict[str, Any]:
    chosen = subject(name, is_smoke=work.sizes.is_smoke)
    bring_plain_tensors(chosen.model.to(work.device))  # or each forward copies positions
    try:
        x = chosen.pixel_values(batch)
        running, refused = _keep_what_runs(variants, chosen.model, x)
        setting = Setting(batch, DTYPE, chosen.num_frames, chosen.image_size)
        rows = measure_setting(
            chosen.model,
            x,
            setting,
            running,
            num_rounds=work.sizes.num_rounds,
            num_warmups=work.sizes.num_warmups,
        )
    finally:
        bring_plain_tensors(chosen.model.cpu())
    return {"model": name, "batch": batch, "r": chosen.r, "refused": refused} | _table(rows)


def _keep_what_runs(
    variants: Sequence[SpeedVariant], model: nn.Module, x: torch.Tensor
) -> tuple[list[SpeedVariant], dict[str, str]]:
    """Return the variants that run here, and why the others do not; compiled ones are not tried."""
    dtype = getattr(torch, DTYPE)
    cast, refused = copy.deepcopy(model).to(dtype), {}
    for variant in variants:
        if "compiled" in variant.name:
            continue
        try:
            forward_of(variant.build(cast), x.to(dtype))()
        except Exception as error:  # no kernel for these inputs, or out of memory
            refused[variant.name] = first_line(error)
    return [variant for variant in variants if variant.name not in refused], refused


def _table(rows: Sequence[SpeedRow]) -> dict[str, Any]:
    """Add to each row its gains over the fastest unmerged eager model, and its gain in FLOPs."""
    by_name = {row.variant: row for row in rows}
    unmerged = by_name[UNMERGED]
    eager = [
        row for row in rows if row.variant.startswith(UNMERGED) and "compiled" not in row.variant
    ]
    best = min(eager, key=lambda row: median(row.times_ms))
    return {
        "best_unmerged": best.variant,
        "rows": [
            row.to_dict()
            | {
                "speedup_over_best_unmerged": paired_ratios(best.timing, row.timing),
                "flop_reduction": unmerged.flops / row.flops,
                "peak_over_unmerged": _ratio(row.peak_bytes, unmerged.peak_bytes),
            }
            for row in rows
        ],
    }


def _ratio(a: int | None, b: int | None) -> float | None:
    return None if a is None or not b else a / b
