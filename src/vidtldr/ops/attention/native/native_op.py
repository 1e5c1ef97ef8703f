"""The CPU kernel as custom torch operators: one node each in a compiled or exported graph.

They have no gradient: where one is needed, `attend` uses only the score, of detached queries and
keys.

Letters: `B` clips, `H` heads, `N` tokens now, `D` channels a head.
"""

import os
import warnings
from collections.abc import Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor

from vidtldr.ops.attention.native.build import KernelError
from vidtldr.ops.attention.native.kernel import Kernel, find_kernel

__all__ = [
    "can_run_native",
    "native_attention",
    "native_score",
    "validate_native",
    "workspace_bytes",
]

torch.library.define(
    "vidtldr::native_attention",
    "(Tensor q, Tensor k, Tensor v, float scale, Tensor? mass, str? score) -> (Tensor, Tensor)",
)
torch.library.define(
    "vidtldr::native_score", "(Tensor q, Tensor k, float scale, str score) -> Tensor"
)


def native_attention(
    q: Tensor, k: Tensor, v: Tensor, scale: float, mass: Tensor | None, score: str | None
) -> tuple[Tensor, Tensor | None]:
    """Compute `attend` on a CPU, in float32, float16 or bfloat16. No gradient flows through it.

    Args:
        q: Queries, shape (B, H, N, D), any strides.
        k: Keys, same shape and dtype.
        v: Values, same shape and dtype.
        scale: Factor of the logits.
        mass: Mass of each key, shape (B, N), positive, or None.
        score: One of `AttentionScore`, or None.

    Returns:
        Attended values, shape (B, H, N, D), dtype of `v`, with heads adjacent in memory; and
        the score, shape (B, N), float32, or None.
    """
    x, found = torch.ops.vidtldr.native_attention(q, k, v, scale, mass, score)
    return x, None if score is None else found


def native_score(q: Tensor, k: Tensor, scale: float, score: str) -> Tensor:
    """Compute the score only, shape (B, N), float32; arguments as in `native_attention`."""
    found: Tensor = torch.ops.vidtldr.native_score(q, k, scale, score)
    return found


@torch.library.impl("vidtldr::native_attention", "CPU")
def _run_attention(
    q: Tensor, k: Tensor, v: Tensor, scale: float, mass: Tensor | None, score: str | None
) -> tuple[Tensor, Tensor]:
    x = _empty_values(v)
    found = _kernel_for(q.dtype).run(q, k, v, x, scale, mass, score)
    return x, q.new_empty(0, dtype=torch.float32) if found is None else found


@torch.library.impl("vidtldr::native_score", "CPU")
def _run_score(q: Tensor, k: Tensor, scale: float, score: str) -> Tensor:
    found = _kernel_for(q.dtype).run(q, k, None, None, scale, None, score)
    assert found is not None
    return found


@torch.library.register_fake("vidtldr::native_attention")  # type: ignore[untyped-decorator]
def _(
    q: Tensor, k: Tensor, v: Tensor, scale: float, mass: Tensor | None, score: str | None
) -> tuple[Tensor, Tensor]:
    shape = (0,) if score is None else (q.shape[0], q.shape[2])
    return _empty_values(v), q.new_empty(shape, dtype=torch.float32)


@torch.library.register_fake("vidtldr::native_score")  # type: ignore[untyped-decorator]
def _(q: Tensor, k: Tensor, scale: float, score: str) -> Tensor:
    return q.new_empty((q.shape[0], q.shape[2]), dtype=torch.float32)


def _empty_values(v: Tensor) -> Tensor:
    """Empty (B, H, N, D) with heads adjacent in memory, so that joining them copies nothing."""
    batch, heads, num_tokens, channels = v.shape
    return v.new_empty(batch, num_tokens, heads, channels).transpose(1, 2)


def can_run_native(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether the kernel is available and correct for such tensors, for `impl="auto"`.

    The first call builds it. If that fails, it warns once, as the fallback is slower; the variable
    `VIDTLDR_NATIVE=0` turns the kernel off without a warning.
    """
    return device.type == "cpu" and dtype in _DTYPES and _supports(dtype)


_DTYPES = (torch.float32, torch.float16, torch.bfloat16)


def _supports(dtype: torch.dtype) -> bool:
    return _find_supported(dtype)


@cache
def _find_supported(dtype: torch.dtype) -> bool:
    if os.environ.get("VIDTLDR_NATIVE") == "0":
        return False
    found = find_kernel()
    if isinstance(found, Kernel):
        return found.supports(dtype)
    _warn(str(found))
    return False


@cache
def _warn(reason: str) -> None:
    warnings.warn(
        f"attention runs in plain torch, which is slower, because its C++ kernel is not available: "
        f"{reason}. Set VIDTLDR_NATIVE=0 to turn off the kernel and this warning.",
        stacklevel=2,
    )


# Same as `torch.compiler.assume_constant_result`, which would load torch._dynamo.
_supports._dynamo_marked_constant = True  # type: ignore[attr-defined]


def workspace_bytes(operator: Any, arguments: Sequence[Any]) -> int:
    """Bytes that a call needs besides its results, which operator-level profiling cannot see.

    Args:
        operator: The operator called; 0 bytes for all but the two of this file.
        arguments: Its positional arguments.
    """
    if operator is torch.ops.vidtldr.native_attention.default:
        q, _, v, _, mass, score = arguments
        return _kernel_for(q.dtype).workspace_bytes(q, v, mass, score)
    if operator is torch.ops.vidtldr.native_score.default:
        q, _, _, score = arguments
        return _kernel_for(q.dtype).workspace_bytes(q, None, None, score)
    return 0


def _kernel_for(dtype: torch.dtype) -> Kernel:
    found = find_kernel()
    if isinstance(found, KernelError):
        raise ImportError(f'impl="native" is not available here: {found}. Pass impl="auto".')
    if not found.supports(dtype):
        raise ImportError(
            f'impl="native" is not available here for {dtype}: as the compiler built it, its '
            'results are wrong on this processor. Pass impl="auto".'
        )
    return found


def validate_native(q: Tensor) -> None:
    """Raise if the kernel cannot run on these queries.

    Args:
        q: Queries, shape (B, H, N, D); keys and values are like them.

    Raises:
        NotImplementedError: If the kernel does not support the device or the dtype.
        ImportError: If there is no kernel, with the reason.
    """
    if q.device.type != "cpu":
        raise NotImplementedError(
            f'q must be on the CPU for impl="native", got {q.device}. Pass impl="auto".'
        )
    if q.dtype not in _DTYPES:
        raise NotImplementedError(
            f'q must be float32, float16 or bfloat16 for impl="native", got {q.dtype}. Cast it or '
            'pass impl="auto".'
        )
    _validate_kernel(q.dtype)


def _validate_kernel(dtype: torch.dtype) -> None:
    _kernel_for(dtype)


_validate_kernel._dynamo_marked_constant = True  # type: ignore[attr-defined]
