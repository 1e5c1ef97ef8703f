"""Rows for one layer's attention: its time over that of fused attention in the same dtype.

Letters: `B` clips, `H` heads, `N` tokens now, `D` channels a head.
"""

from collections.abc import Iterator

import torch

from vidtldr.bench.never_slower.gain import CPU
from vidtldr.bench.row import Row, Settings, Target
from vidtldr.bench.scaling import SDPA, measure_scaling
from vidtldr.bench.scaling import SIDES as SCORES_OF_SIDES
from vidtldr.ops.attention import AttentionScore
from vidtldr.ops.processor import cpu_capability

__all__ = ["attention_rows", "attention_target"]

NUM_TOKENS, TINY_NUM_TOKENS = (588, 1568, 2352, 4096), (24, 37)
NUM_HEADS, HEAD_CHANNELS = 12, 64
# The names rows use for the sides of `measure_scaling`.
SIDES = {"mass": "mass", "mass and sharpness": "mass, sharpness"}
DTYPES = (torch.float32, torch.bfloat16)
_HAVE_BFLOAT16_PRODUCTS = ("amx", "avx512-bf16")


def attention_rows(settings: Settings) -> Iterator[Row]:
    """Yield a row per dtype, number of tokens and variant: mass, or mass and sharpness."""
    for dtype in DTYPES:
        for num_tokens in TINY_NUM_TOKENS if settings.tiny else NUM_TOKENS:
            yield from _rows_of(num_tokens, dtype, settings)


def attention_target(
    dtype: torch.dtype, score: AttentionScore | None, capability: str
) -> Target | None:
    """Return the target for attention time over SDPA on a processor.

    Args:
        dtype: Dtype of queries, keys and values.
        score: The score.
        capability: From `cpu_capability`.

    Returns:
        1.1 without a score; with one, 1.3 in float32, and 1.8 in bfloat16 if the processor
        multiplies it natively. None for a score in bfloat16 elsewhere: no target.
    """
    figure = "time_over_sdpa"
    if score is None:
        return Target(figure, at_most=1.1)
    if dtype == torch.float32:
        return Target(figure, at_most=1.3)
    return Target(figure, at_most=1.8) if capability in _HAVE_BFLOAT16_PRODUCTS else None


def _rows_of(num_tokens: int, dtype: torch.dtype, settings: Settings) -> list[Row]:
    measured = measure_scaling(
        num_tokens,
        num_heads=NUM_HEADS,
        channels=HEAD_CHANNELS,
        batch=1,
        device=CPU,
        dtype=dtype,
        num_rounds=settings.num_rounds,
        num_warmups=settings.num_warmups,
        most_map_bytes=0,
        sides=SIDES.values(),
    )
    found = {row.side: row for row in measured}
    type_name = str(dtype).removeprefix("torch.")
    rows = []
    for name, side in SIDES.items():
        slowdown = found[side].slowdown
        assert slowdown is not None
        details = {
            "shape": (1, NUM_HEADS, num_tokens, HEAD_CHANNELS),
            "dtype": type_name,
            "num_threads": torch.get_num_threads(),
            "times_ms": {SDPA: found[SDPA].times_ms, name: found[side].times_ms},
        }
        rows.append(
            Row(
                f"attention-{type_name}-{num_tokens}-{name.replace(' ', '-')}",
                f"attention, {type_name}, {num_tokens} tokens, {name}",
                {"time_over_sdpa": slowdown},
                attention_target(dtype, SCORES_OF_SIDES[side][1], cpu_capability()),
                details,
            )
        )
    return rows
