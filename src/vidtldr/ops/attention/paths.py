"""Which implementation of attention runs: one table, by processor capability.

The choice does not depend on timings, so a machine always takes the same path. Each row names its
evidence; `vidtldr bench paths` measures every path on this machine and reports where the table is
wrong.

Letters: `B` clips, `H` heads, `N` tokens now, `D` channels a head.
"""

from dataclasses import dataclass
from functools import cache
from typing import Literal, get_args

import torch
from torch import Tensor

from vidtldr.ops.attention.native.native_op import can_run_native
from vidtldr.ops.attention.triton_op import can_run_triton
from vidtldr.ops.processor import CpuCapability, cpu_capability

__all__ = ["ROWS", "AttentionPath", "PathRow", "choose_path", "runnable_paths"]

#: `"fused"` is torch's `scaled_dot_product_attention` with log mass as a bias; it returns no score.
AttentionPath = Literal["fused", "native", "blocked", "triton"]

EVERY_CPU: tuple[CpuCapability, ...] = (
    "amx",
    "avx512-bf16",
    "avx512",
    "avx2",
    "arm-bf16",
    "arm",
    "other",
)
HALF_AND_SINGLE = (torch.float32, torch.float16, torch.bfloat16)


@dataclass(frozen=True)
class PathRow:
    """Attention of one kind on one kind of processor.

    Attributes:
        is_scored: Whether a score is asked for.
        dtypes: Of queries, keys and values.
        processors: CPU capabilities, or "gpu".
        paths: Best first; the first that can run is taken.
        evidence: What was measured, and where.
    """

    is_scored: bool
    dtypes: tuple[torch.dtype, ...]
    processors: tuple[CpuCapability | Literal["gpu"], ...]
    paths: tuple[AttentionPath, ...]
    evidence: str


#: The first matching row is taken. Without a match, "fused" runs without a score and "blocked" with
#: one.
ROWS = (
    PathRow(True, HALF_AND_SINGLE, ("gpu",), ("triton", "blocked"), "not measured yet"),
    PathRow(
        True,
        HALF_AND_SINGLE,
        EVERY_CPU,
        ("native", "blocked"),
        "results/paths, over fused attention without a score: native 0.89 to 1.08 on AMD EPYC 7003 "
        "(avx2), 0.34 to 1.00 on AMD EPYC 9004 (avx512-bf16), blocked 0.7 to 2.6; on other "
        "processors not measured yet",
    ),
    PathRow(
        False,
        HALF_AND_SINGLE,
        ("avx512-bf16",),
        ("native", "fused"),
        "results/paths on AMD EPYC 9004 (avx512-bf16), over fused attention without mass: native "
        "0.85 to 1.00 in float32, 0.62 to 0.84 in bfloat16, 0.41 to 0.58 in float16; fused with "
        "mass 0.99 to 1.07",
    ),
    PathRow(
        False,
        (torch.bfloat16, torch.float16),
        ("avx2", "avx512"),
        ("native", "fused"),
        "results/paths on AMD EPYC 7003 (avx2): native 0.6 to 0.95 of fused with mass",
    ),
    PathRow(
        False,
        (torch.bfloat16,),
        ("amx",),
        ("fused",),
        "two cores of an Intel Xeon with AMX, torch 2.13: fused with mass 1.07 of fused without, "
        "blocked 2.3",
    ),
)


def choose_path(q: Tensor, *, is_scored: bool) -> AttentionPath:
    """Choose the path of `impl="auto"` where no gradient is needed.

    Args:
        q: Queries, shape (B, H, N, D); keys and values are like them.
        is_scored: Whether a score is asked for.
    """
    for row in _rows_of(q.device.type, q.dtype, is_scored):
        for path in row.paths:
            if _can_run(path, q):
                return path
    return "blocked" if is_scored else "fused"


def runnable_paths(q: Tensor, *, is_scored: bool) -> list[AttentionPath]:
    """List every path that can run here, whether the table chooses it or not.

    Args:
        q: Queries, shape (B, H, N, D).
        is_scored: Whether a score is asked for.
    """
    without: AttentionPath = "fused" if is_scored else "triton"
    return [path for path in get_args(AttentionPath) if path != without and _can_run(path, q)]


def _can_run(path: AttentionPath, q: Tensor) -> bool:
    if path == "triton":
        return can_run_triton(q)
    return path != "native" or can_run_native(q.device, q.dtype)


def _rows_of(device_type: str, dtype: torch.dtype, is_scored: bool) -> tuple[PathRow, ...]:
    return _find_rows(device_type, dtype, is_scored)


@cache
def _find_rows(device_type: str, dtype: torch.dtype, is_scored: bool) -> tuple[PathRow, ...]:
    processor = cpu_capability() if device_type == "cpu" else "gpu"
    return tuple(
        row
        for row in ROWS
        if row.is_scored == is_scored and dtype in row.dtypes and processor in row.processors
    )


# Same as `torch.compiler.assume_constant_result`, which would load torch._dynamo.
_rows_of._dynamo_marked_constant = True  # type: ignore[attr-defined]
