"""Launch the Triton kernels: grids, scratch space and the remaining steps around them.

This file loads Triton; `triton_op` loads it when a kernel first runs.

Letters: `B` clips, `H` heads, `N` tokens now, `D` channels a head.
"""

import math
import threading

import torch
import triton
from torch import Tensor

from vidtldr.ops.attention.triton_kernels import attention_kernel, score_kernel

__all__ = ["run_kernels"]

# A token's score is summed in at most this many parts, each by its own program, so that a single
# clip fills a GPU. That is 32 numbers per token, fewer than its queries.
_MAX_PARTS = 32
_SMALLEST_TILE = 32
_LAUNCHING = threading.Lock()  # Triton's tuner stores a launch's arguments on itself


def run_kernels(
    q: Tensor,
    k: Tensor,
    v: Tensor | None,
    x: Tensor | None,
    scale: float,
    mass: Tensor | None,
    score: str,
) -> Tensor:
    """Write the attended values into `x`, if given, and return the score, shape (B, N), float32.

    Args:
        q: Queries, shape (B, H, N, D), any strides.
        k: Keys, same shape and dtype.
        v: Values, same shape and dtype; None if `x` is.
        x: Where the attended values go, same shape and dtype; None for the score only.
        scale: Factor of the logits.
        mass: Mass of each key, shape (B, N), positive, or None.
        score: `"sharpness"`, `"received"` or `"sharpness-per-head"`.
    """
    batch, heads, num_tokens, _ = q.shape
    if q.numel() == 0:  # a grid must not be empty
        return q.new_zeros((batch, num_tokens), dtype=torch.float32)
    per_head = score == "sharpness-per-head"
    rows = q.new_empty((1 if per_head else 2, batch, heads, num_tokens), dtype=torch.float32)
    # Triton launches on the current device, not on that of the tensors.
    with _LAUNCHING, torch.cuda.device_of(q):  # type: ignore[no-untyped-call]
        if per_head:
            _attend(q, k, v, x, scale, mass, entropy=rows[0])
            return rows[0].mean(dim=1)
        _attend(q, k, v, x, scale, mass, row_max=rows[0], row_sum=rows[1])
        return _score_of_head_mean(q, k, scale, rows[0], rows[1], score)


def _attend(
    q: Tensor,
    k: Tensor,
    v: Tensor | None,
    x: Tensor | None,
    scale: float,
    mass: Tensor | None,
    *,
    row_max: Tensor | None = None,
    row_sum: Tensor | None = None,
    entropy: Tensor | None = None,
) -> None:
    batch, heads, num_tokens, channels = q.shape
    attention_kernel[lambda meta: (batch * heads * triton.cdiv(num_tokens, meta["ROWS"]),)](
        q,
        q.stride(),
        k,
        k.stride(),
        v,
        None if v is None else v.stride(),
        None if mass is None else _packed(mass, q.dtype),
        x,
        None if x is None else x.stride(),
        row_max,
        row_sum,
        entropy,
        _base_2(scale),
        heads,
        num_tokens,
        _size_class(q),
        D=channels,
        PADDED_D=_padded(channels),
    )


def _score_of_head_mean(
    q: Tensor, k: Tensor, scale: float, row_max: Tensor, row_sum: Tensor, score: str
) -> Tensor:
    batch, heads, num_tokens, channels = q.shape
    num_parts = min(_MAX_PARTS, triton.cdiv(num_tokens, _SMALLEST_TILE))
    parts = q.new_empty((batch, num_parts, num_tokens), dtype=torch.float32)
    is_sharpness = score == "sharpness"
    kept = "ROWS" if is_sharpness else "KEYS"
    score_kernel[lambda meta: (batch * triton.cdiv(num_tokens, meta[kept]) * num_parts,)](
        q,
        q.stride(),
        k,
        k.stride(),
        row_max,
        row_sum,
        parts,
        num_parts,
        _base_2(scale),
        heads,
        num_tokens,
        _size_class(q),
        D=channels,
        PADDED_D=_padded(channels),
        SHARPNESS=is_sharpness,
    )
    # Sharpness is in base 2; attention received is a sum over rows.
    return parts.sum(dim=1) * (math.log(2) if is_sharpness else 1 / num_tokens)


def _base_2(scale: float) -> float:
    """The factor for which `2 ** logits` equals `e ** logits` with `scale`."""
    return scale / math.log(2)


def _size_class(q: Tensor) -> int:
    """Size class; sizes within a factor of two share the tiles tuned for the first of them."""
    return (q.shape[0] * q.shape[1] * q.shape[2]).bit_length()


def _padded(channels: int) -> int:
    """D padded for a tile: a power of two, and at least 16 for the matrix units."""
    return max(16, 1 << (channels - 1).bit_length())


def _packed(mass: Tensor, dtype: torch.dtype) -> Tensor:
    """Contiguous float32 mass; for float16 scaled into range, as weights reach the largest mass.

    Only ratios of masses affect the values, so a clip's masses may be scaled together.
    """
    mass = mass.float().contiguous()
    if dtype == torch.float16:
        mass = mass / (mass.amax(dim=1, keepdim=True) / 2**15).clamp_min(1)
    return mass
