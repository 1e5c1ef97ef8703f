"""The gain of merging on a model, in time and FLOPs, over unmerged fused attention.

Letters: `B` clips.
"""

import copy
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from vidtldr.bench.never_slower.workloads import Workload
from vidtldr.bench.row import Settings, Spread
from vidtldr.bench.speed import forward_of, relative_distance, validate_finite
from vidtldr.budget.counts import resolved_r
from vidtldr.hosts.registry import find_host
from vidtldr.measure.flops import count_flops
from vidtldr.measure.timing import Timing, paired_ratios, time_in_turn
from vidtldr.patch.twin import merged_twin

__all__ = ["CPU", "MERGED", "UNMERGED", "Runs", "gain_figures", "pair_of", "timed"]

CPU = torch.device("cpu")
UNMERGED, MERGED = "unmerged", "merged"
Runs = dict[str, Callable[[], Tensor]]


def pair_of(
    workload: Workload, *, batch: int = 1, dtype: torch.dtype = torch.float32
) -> tuple[Runs, dict[str, Any]]:
    """Return the checked forwards of both sides and their description.

    Args:
        workload: The model and its merge.
        batch: B.
        dtype: Dtype of weights and input.

    Returns:
        Forwards by `UNMERGED` and `MERGED`; shapes, FLOPs and the drift of the outputs.

    Raises:
        FloatingPointError: If an output is not finite.
    """
    plain = workload.model
    if dtype != torch.float32:
        plain = copy.deepcopy(plain).to(dtype)  # the workload's own model stays float32
    x = workload.pixel_values(batch, dtype)
    models = {UNMERGED: plain, MERGED: merged_twin(plain, workload.config)}
    runs = {side: forward_of(model, x) for side, model in models.items()}
    seen = {side: _seen_once(f"{workload.title}, {side}", run) for side, run in runs.items()}
    return runs, {
        "input_shape": tuple(x.shape),
        "dtype": str(dtype).removeprefix("torch."),
        "batch": batch,
        "r": resolved_r(workload.config, find_host(plain)),
        "num_threads": torch.get_num_threads(),
        "flops": {side: flops for side, (flops, _) in seen.items()},
        "drift": relative_distance(seen[MERGED][1], seen[UNMERGED][1]),
    }


def timed(runs: Mapping[str, Callable[[], object]], settings: Settings) -> dict[str, Timing]:
    """Time forwards in turn."""
    return time_in_turn(
        runs, num_repeats=settings.num_rounds, num_warmups=settings.num_warmups, device=CPU
    )


def gain_figures(
    unmerged: Timing, merged: Timing, flops: Mapping[str, int]
) -> dict[str, float | Spread]:
    """Return the gain in time, the gain in FLOPs, and their ratio."""
    gain, flop_reduction = paired_ratios(unmerged, merged), flops[UNMERGED] / flops[MERGED]
    return {
        "gain": gain,
        "flop_reduction": flop_reduction,
        "speedup_over_flop_reduction": {
            name: ratio / flop_reduction for name, ratio in gain.items()
        },
    }


def _seen_once(name: str, run: Callable[[], Tensor]) -> tuple[int, Tensor]:
    """Get FLOPs and output from one forward: large models in an emulated dtype take minutes."""
    outputs: list[Tensor] = []
    flops = count_flops(lambda: outputs.append(run()))
    return flops, validate_finite(name, outputs[0]).float().clone()
