"""`attend`: one entry point to every implementation of attention.

Letters: `B` clips, `H` heads, `N` tokens now, `D` channels a head.
"""

from collections.abc import Callable
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor
from torch.nn import functional as F

from vidtldr.autocast import without_autocast
from vidtldr.exporting import is_exporting
from vidtldr.ops.attention.blocked import blocked_attention, blocked_score
from vidtldr.ops.attention.exported import exported_attention
from vidtldr.ops.attention.native.native_op import (
    native_attention,
    native_score,
    validate_native,
)
from vidtldr.ops.attention.paths import AttentionPath, choose_path
from vidtldr.ops.attention.reference import reference_attention
from vidtldr.ops.attention.triton_op import triton_attention, triton_score, validate_triton

__all__ = ["ATTENTIONS", "AttentionImpl", "AttentionOutput", "AttentionScore", "attend"]

AttentionScore = Literal["sharpness", "sharpness-per-head", "received"]
AttentionImpl = Literal["auto", "reference", "blocked", "native", "triton"]


class AttentionOutput(NamedTuple):
    """The result of `attend`.

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

    With `P = softmax(scale q kᵀ)` for each head and `A` its mean over heads, both **without** mass:

    - `x` weights key `j` by `P_ij mass_j`, normalised: the softmax of the logits plus
      `log mass_j`;
    - `score="sharpness"` is `Σ_j A_ij log A_ij`, the negative entropy of row `i` in nats, in [-log
      N, 0];
    - `score="sharpness-per-head"` is the mean over heads of `Σ_j P_ij log P_ij`, in [-log N, 0] and
      never below the sharpness of the mean;
    - `score="received"` is `mean_i A_ij`, in [0, 1].

    With a score, at most a block of rows of the N x N map is stored, except by
    `impl="reference"`. Gradients flow through `x` only; where they are needed, `x` comes from
    `scaled_dot_product_attention` and the score is computed separately.

    Args:
        q: Queries, shape (B, H, N, D), floating point.
        k: Keys, same shape and dtype.
        v: Values, same shape and dtype.
        scale: Factor of the logits, finite.
        mass: Mass of each key, shape (B, N), positive; None for all 1.
        score: Which score to return, if any.
        impl: `"reference"` (materialises the map, defines every edge case), `"blocked"` (plain
            torch, runs everywhere), `"native"` (C++ for a CPU, built at first use: float32, float16
            or bfloat16), `"triton"` (kernels for GPUs: float32, float16 or bfloat16, D up to 128)
            or `"auto"`: chosen by the table in `paths.py` for the processor and the dtype, so
            machines may differ by rounding. Without a score all but `"auto"` and `"reference"` are
            `scaled_dot_product_attention`. `"received"` is summed per thread first, so its last
            digits depend on the number of threads. `VIDTLDR_NATIVE=0` in the environment turns
            `"native"` off for `"auto"`. In a graph that is exported, `"auto"` and `"blocked"` are
            operators of plain torch, in blocks of at most 128 MB a clip.

    Returns:
        The attended values and the score.

    Raises:
        ValueError: If a shape does not fit, or `score` or `impl` is not one of the choices.
        TypeError: If q, k, v do not share one floating-point dtype.
        NotImplementedError: If `impl="triton"` or `"native"` does not support the device, the dtype
            or D.
        ImportError: If `impl="triton"` finds no Triton, or `"native"` cannot be built.

    Source: Choi et al., CVPR 2024, Eq. 5 (sharpness; the per-head variant is ours); Bolya et al.,
    ICLR 2023 (proportional attention).
    """
    _validate(q, k, v, mass, score, impl)
    mass = None if mass is None else mass.detach()
    with without_autocast(q.device):
        if impl == "reference":
            return AttentionOutput(*reference_attention(q, k, v, scale, mass, score))
        if impl in ("auto", "blocked") and is_exporting():
            if score is None:
                return AttentionOutput(_fused(q, k, v, scale, mass), None)
            return AttentionOutput(*exported_attention(q, k, v, scale, mass, score))
        needs_grad = torch.is_grad_enabled() and any(t.requires_grad for t in (q, k, v))
        if needs_grad and score is None:
            return AttentionOutput(_fused(q, k, v, scale, mass), None)
        path = _path_of(q, impl, is_scored=score is not None)
        if needs_grad:
            x = _fused(q, k, v, scale, mass)
            return AttentionOutput(x, _SCORES[path](q.detach(), k.detach(), scale, score))
        return AttentionOutput(*ATTENTIONS[path](q, k, v, scale, mass, score))


def _fused_attention(
    q: Tensor, k: Tensor, v: Tensor, scale: float, mass: Tensor | None, score: None
) -> tuple[Tensor, None]:
    return _fused(q, k, v, scale, mass), None


#: Each path maps queries, keys, values, scale, mass and score to values and score.
ATTENTIONS: dict[AttentionPath, Callable[..., tuple[Tensor, Tensor | None]]] = {
    "fused": _fused_attention,
    "native": native_attention,
    "blocked": blocked_attention,
    "triton": triton_attention,
}
_SCORES: dict[AttentionPath, Callable[..., Tensor]] = {
    "native": native_score,
    "blocked": blocked_score,
    "triton": triton_score,
}


def _path_of(q: Tensor, impl: AttentionImpl, *, is_scored: bool) -> AttentionPath:
    if impl == "auto":
        return choose_path(q, is_scored=is_scored)
    assert impl != "reference"  # returned before
    return impl if is_scored else "fused"


def _fused(q: Tensor, k: Tensor, v: Tensor, scale: float, mass: Tensor | None) -> Tensor:
    """Fused attention with log mass as a bias.

    On a CPU it takes 1.04 of the time without mass; as an extra channel, 1.12 at N 2352.
    """
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
    if impl == "native":
        validate_native(q)
