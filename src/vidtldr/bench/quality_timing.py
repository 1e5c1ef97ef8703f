"""Time the settings of the quality benchmark."""

import statistics
from functools import partial
from typing import Any

import torch

from vidtldr.baselines.baseline import Unmerged, Variant
from vidtldr.bench.quality_result import NUM_TIMED_CLIPS
from vidtldr.measure.fork_rng import fork_rng
from vidtldr.measure.result_store import ResultStore
from vidtldr.measure.timing import time_in_turn
from vidtldr.models.umt.vision import VisionEncoder
from vidtldr.steps import OnStep

__all__ = ["time_variants"]

NUM_WARMUPS = 1


def time_variants(
    encoder: VisionEncoder,
    variants: dict[str, Variant],
    num_rounds: int,
    identity: dict[str, Any],
    store: ResultStore,
    on_step: OnStep,
) -> dict[str, dict[str, float]]:
    """Time each variant in turn with the unmerged encoder; nothing if `num_rounds` is 0.

    Returns:
        The timing of each variant by its name; see `Row.timing`.
    """
    timings: dict[str, dict[str, float]] = {}
    if num_rounds == 0:
        return timings
    how = {"rounds": num_rounds, "batch": NUM_TIMED_CLIPS, "threads": torch.get_num_threads()}
    for done, (name, variant) in enumerate(variants.items(), start=1):
        key = {**identity, "time": how, "setting": variant.to_dict()}
        timings[name] = store.get(
            key,
            partial(_time_variant, encoder, variant, num_rounds),
            lambda v: not v["machine_was_busy"],
        )
        on_step("timing", done, len(variants))
    return timings


def _time_variant(encoder: VisionEncoder, variant: Variant, num_rounds: int) -> dict[str, float]:
    """Time a variant and the unmerged encoder in turn; see `Row.timing`."""
    config, weights = encoder.config, next(encoder.parameters())
    side = config.image_size
    clips = torch.randn(NUM_TIMED_CLIPS, config.num_frames, 3, side, side).to(weights)
    forwards = {"unmerged": Unmerged().forward_of(encoder), "peer": variant.forward_of(encoder)}
    with torch.inference_mode(), fork_rng(weights.device):
        timed = time_in_turn(
            {name: partial(forward, clips) for name, forward in forwards.items()},
            num_repeats=num_rounds,
            num_warmups=NUM_WARMUPS,
            device=weights.device,
        )
    pairs = zip(timed["unmerged"].times_ms, timed["peer"].times_ms, strict=True)
    speedups = [unmerged / own for unmerged, own in pairs]
    return {
        "clips_per_second": NUM_TIMED_CLIPS / timed["peer"].median_ms * 1e3,
        "unmerged_clips_per_second": NUM_TIMED_CLIPS / timed["unmerged"].median_ms * 1e3,
        "speedup": statistics.median(speedups),
        "lowest_speedup": min(speedups),
        "highest_speedup": max(speedups),
        **timed["peer"].busy.to_dict(),
    }
