"""Which tile sizes the kernels choose, and how long each candidate takes."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from gpu_stages.bounds import Inputs
from gpu_stages.stage import Work
from vidtldr.ops.attention import attend

__all__ = ["measure_tiles"]

# Rows, keys, warps, stages: in addition to the kernels' own candidates.
MORE_TILES = (
    (128, 128, 8, 3),
    (128, 64, 8, 2),
    (128, 32, 4, 4),
    (64, 128, 4, 3),
    (64, 64, 4, 3),
    (64, 64, 4, 4),
    (256, 64, 8, 3),
)


def measure_tiles(work: Work) -> dict[str, Any]:
    """Retune both kernels at every size of attention, first with their own candidates."""
    from vidtldr.ops.attention.triton_kernels import attention_kernel, score_kernel

    kernels = {"attention": attention_kernel, "score": score_kernel}
    found: list[dict[str, Any]] = []
    for more in ((), () if work.sizes.is_smoke else MORE_TILES):
        for batch, num_tokens in work.sizes.attention:
            if work.seconds_left <= 0:
                return {"results": found, "note": "the time was up"}
            with _more_candidates(list(kernels.values()), more):
                tuned = _tune(kernels, work, batch, num_tokens)
            found.append({"batch": batch, "num_tokens": num_tokens, "more": bool(more)} | tuned)
            work.keep({"results": found})
    return {"results": found}


def _tune(kernels: dict[str, Any], work: Work, batch: int, num_tokens: int) -> dict[str, Any]:
    shape = (batch, work.sizes.num_heads, num_tokens, work.sizes.channels)
    inputs = Inputs.draw(shape, torch.bfloat16, work.device)
    for kernel in kernels.values():
        kernel.cache.clear()  # earlier results; compiled kernels stay
    attend(
        inputs.q,
        inputs.k,
        inputs.v,
        scale=inputs.scale,
        mass=inputs.mass,
        score="sharpness",
        impl="triton",
    )
    return {name: tuning_of(kernel) for name, kernel in kernels.items()}


def tuning_of(kernel: Any) -> dict[str, Any]:
    """Return a tuner's choice, and the median, 20th and 80th percentile per candidate, in ms.

    A candidate that does not fit the GPU has None.
    """
    timings = getattr(kernel, "configs_timings", None) or {}
    return {
        "chosen": kernel.best_config.all_kwargs(),
        "candidates": [
            config.all_kwargs() | {"ms": [t if math.isfinite(t) else None for t in times]}
            for config, times in timings.items()
        ],
    }


@contextmanager
def _more_candidates(
    kernels: Sequence[Any], tiles: Sequence[tuple[int, int, int, int]]
) -> Iterator[None]:
    """Let the tuners try more tiles; they skip those that do not fit the GPU."""
    import triton

    own = [kernel.configs for kernel in kernels]
    more = [
        triton.Config({"ROWS": rows, "KEYS": keys}, num_warps=warps, num_stages=stages)
        for rows, keys, warps, stages in tiles
    ]
    try:
        for kernel, configs in zip(kernels, own, strict=True):
            kernel.configs = [*configs, *more]
        yield
    finally:
        for kernel, configs in zip(kernels, own, strict=True):
            kernel.configs = configs
            kernel.cache.clear()  # later stages must not run tiles that we do not ship
