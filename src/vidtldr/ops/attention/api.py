"""`attend`: one door to every implementation of attention.

Letters: `B` clips, `H` heads, `N` tokens now, `D` channels a head.
"""

from contextlib import AbstractContextManager, nullcontext
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor
from torch.nn import functional as F

from vidtldr.ops.attention.blocked import (
    blocked_attention,
    blocked_score,
    blocked_values,
    multiplies_bfloat16,
)
from vidtldr.ops.attention.fused_score import can_fuse_score, fused_sharpness_per_head
from vidtldr.ops.attention.reference import reference_attention
from vidtldr.ops.attention.triton_op import (
    can_run_triton,
    triton_attention,
    triton_score,
    validate_triton,
)

__all__ = ["AttentionImpl", "AttentionOutput", "AttentionScore", "attend", "scores_by_fused_call"]

FASTER_IN_BLOCKS_FROM = 256  # tokens
FASTER_BY_FUSED_CALL_TO = 32  # channels a head

AttentionScore = Literal["sharpness", "sharpness-per-head", "received"]
AttentionImpl = Literal["auto", "reference", "blocked", "triton"]


class AttentionOutput(NamedTuple):
    """What attention gives back.

    Attributes:
        x: Attended values, shape (B, H, N, D), dtype of the values.
        score: Score of each token, shape (B, N), float32 (float64 for float64 input), without
            gradient; None if none was asked for.
    """

    x: Tensor
    score: Tensor | None


def attend(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    scale: float,
    mass: Tensor | None = None,
    score: AttentionScore | None = None,
    impl: AttentionImpl = "auto",
) -> AttentionOutput:
    """Attend in proportion to mass and, if asked, score every token by its attention.

    With `P = softmax(scale q kᵀ)` of each head and `A` its mean over heads, both **without** mass:

    - `x` weighs key `j` by `P_ij mass_j`, normalised, that is, by the softmax of the logits plus
      `log mass_j`;
    - `score="sharpness"` is `Σ_j A_ij log A_ij`, the negative entropy of row `i` in nats, in [-log
      N, 0];
    - `score="sharpness-per-head"` is the mean over heads of `Σ_j P_ij log P_ij`, in [-log N, 0] and
      never below the sharpness of the mean;
    - `score="received"` is `mean_i A_ij`, in [0, 1].

    Without a score this is `scaled_dot_product_attention`, but for bfloat16 on a CPU that has
    products of it (see `is_faster_in_blocks`). With one, no N x N map is stored for more than a
    block of rows, except by `impl="reference"`. Gradients flow to `x` alone; where they
    are needed `x` comes from `scaled_dot_product_attention` and the score is computed beside it.

    Args:
        q: Queries, shape (B, H, N, D), floating point.
        k: Keys, same shape and dtype.
        v: Values, same shape and dtype.
        scale: Factor of the logits, finite.
        mass: Mass of each key, shape (B, N), positive; None for all 1.
        score: Which score to return, if any.
        impl: `"reference"` (materialises the map, defines every edge case), `"blocked"` (plain
            torch, runs everywhere), `"triton"` (kernels for GPUs: float32, float16 or bfloat16, D
            up to 128) or `"auto"`: `"triton"` where Triton is installed and it supports the GPU
            (NVIDIA since Ampere, or AMD), the dtype and D; `"blocked"` otherwise, but for
            `"sharpness-per-head"` on a CPU, with D up to 32, one more call of fused attention.

    Returns:
        The attended values and the score.

    Raises:
        ValueError: If a shape does not fit, or `score` or `impl` is not one of the choices.
        TypeError: If q, k, v are not of one floating-point dtype.
        NotImplementedError: If `impl="triton"` does not support the device, the dtype or D.
        ImportError: If `impl="triton"` finds no Triton.

    Source: Choi et al., CVPR 2024, Eq. 5 (sharpness; of each head it is ours); Bolya et al., ICLR
    2023 (proportional attention).
    """
    _validate(q, k, v, mass, score, impl)
    use_triton = score is not None and (impl == "triton" or (impl == "auto" and can_run_triton(q)))
    attention, score_alone = (
        (triton_attention, triton_score) if use_triton else (blocked_attention, blocked_score)
    )
    mass = None if mass is None else mass.detach()
    with _without_autocast(q.device):
        if impl == "reference":
            return AttentionOutput(*reference_attention(q, k, v, scale, mass, score))
        needs_grad = torch.is_grad_enabled() and any(t.requires_grad for t in (q, k, v))
        if score is None:
            in_blocks = impl == "auto" and not needs_grad and is_faster_in_blocks(q)
            values_of = blocked_values if in_blocks else _fused
            return AttentionOutput(values_of(q, k, v, scale, mass), None)
        if scores_by_fused_call(score, impl, q.device, q.shape[-1]):
            x = _fused(q, k, v, scale, mass)
            return AttentionOutput(x, fused_sharpness_per_head(q.detach(), k.detach(), scale))
        if needs_grad:
            x = _fused(q, k, v, scale, mass)
            return AttentionOutput(x, score_alone(q.detach(), k.detach(), scale, score))
        return AttentionOutput(*attention(q, k, v, scale, mass, score))


def scores_by_fused_call(
    score: str | None, impl: str, device: torch.device, head_channels: int
) -> bool:
    """Whether `attend` scores by one more call of fused attention, whose values are the keys.

    So it does for `"sharpness-per-head"` of small heads on a CPU, where one more product costs
    less than a logarithm of every probability. For 2352 tokens of 12 heads in float32 it took 0.93
    of the time of blocks for 32 channels a head, 1.09 for 64 and 1.36 for 128; in bfloat16 0.94,
    1.11 and 1.60 (medians, two AVX-512 cores, torch 2.13).
    """
    return (
        score == "sharpness-per-head"
        and impl == "auto"
        and head_channels <= FASTER_BY_FUSED_CALL_TO
        and can_fuse_score(device)
    )


def is_faster_in_blocks(q: Tensor) -> bool:
    """Whether `attend` without a score works in blocks of rows and not by the fused call.

    So it does in bfloat16 on a CPU that multiplies it, where torch's fused attention takes as long
    as in float32. With mass, 12 heads of 64 channels, blocks took 1.08 of its time for 197 tokens,
    0.75 for 588 and 0.74 for 2352 (two AVX-512 cores, torch 2.13).
    """
    return q.device.type == "cpu" and q.shape[2] >= FASTER_IN_BLOCKS_FROM and multiplies_bfloat16(q)


def _without_autocast(device: torch.device) -> AbstractContextManager[object]:
    """Autocast would round the products of `float32` arithmetic to half types."""
    if not torch.amp.is_autocast_available(device.type):
        return nullcontext()
    return torch.autocast(device.type, enabled=False)


def _fused(q: Tensor, k: Tensor, v: Tensor, scale: float, mass: Tensor | None) -> Tensor:
    """Log mass as a bias: on a CPU 1.04 of the time without, as one more channel 1.12 at N 2352."""
    bias = None if mass is None else mass.log().to(q.dtype)[:, None, None, :]  # (B, 1, 1, N)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=bias, scale=scale)


def _validate(
    q: Tensor, k: Tensor, v: Tensor, mass: Tensor | None, score: str | None, impl: str
) -> None:
    if q.dim() != 4 or q.shape != k.shape or q.shape != v.shape:
        shapes = f"{tuple(q.shape)}, {tuple(k.shape)}, {tuple(v.shape)}"
        raise ValueError(
            f"q, k, v must all be (B, H, N, D), got {shapes}. Split the heads and pass "
            "self-attention."
        )
    if not q.is_floating_point() or q.dtype != k.dtype or q.dtype != v.dtype:
        raise TypeError(
            f"q, k, v must share one floating-point dtype, got {q.dtype}, {k.dtype}, {v.dtype}. "
            "Cast them."
        )
    if mass is not None and mass.shape != (q.shape[0], q.shape[2]):
        expected = (q.shape[0], q.shape[2])
        raise ValueError(
            f"mass must be {expected}, one a key, got shape {tuple(mass.shape)}. Pass (B, N)."
        )
    if score is not None and score not in get_args(AttentionScore):
        raise ValueError(
            f"score must be one of {get_args(AttentionScore)} or None, got {score!r}. Choose one."
        )
    if impl not in get_args(AttentionImpl):
        raise ValueError(
            f"impl must be one of {get_args(AttentionImpl)}, got {impl!r}. Choose one."
        )
    if impl == "triton":
        validate_triton(q)
