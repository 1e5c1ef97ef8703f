"""Sharpness of each head out of fused attention: no block of a map is ever looked at.

With `P = softmax(scale q kᵀ)` of a head and `lse` its rows' log-sum-exp, `log P_ij` is
`scale q_i·k_j - lse_i`, so `Σ_j P_ij log P_ij = scale q_i·(P k)_i - lse_i`: attention whose values
are the keys, and one product a token. The mean over heads comes after, so no head waits for
another; for the sharpness of their mean it comes before the logarithm, and there is no such way.

Letters: `B` clips, `H` heads, `N` tokens now, `D` channels a head.
"""

import math

import torch
from torch import Tensor

__all__ = ["can_fuse_score", "fused_sharpness_per_head"]

# The operator behind `scaled_dot_product_attention` on a CPU, which alone hands out `lse`. It is no
# public one, so it is used only while it looks as it did in the versions tried (torch 2.13).
_NAME = "_scaled_dot_product_flash_attention_for_cpu"
_SCHEMA = (
    f"aten::{_NAME}(Tensor query, Tensor key, Tensor value, float dropout_p=0., "
    "bool is_causal=False, *, Tensor? attn_mask=None, float? scale=None) "
    "-> (Tensor output, Tensor logsumexp)"
)
_ATTENTION = getattr(getattr(torch.ops.aten, _NAME, None), "default", None)
_IS_KNOWN = _ATTENTION is not None and str(_ATTENTION._schema) == _SCHEMA


def can_fuse_score(device: torch.device) -> bool:
    """Whether this device's fused attention hands out its log-sum-exp, in this torch."""
    return device.type == "cpu" and _IS_KNOWN


def fused_sharpness_per_head(q: Tensor, k: Tensor, scale: float) -> Tensor:
    """Mean over heads of each row's negative entropy, nats; where `can_fuse_score` says so.

    Half types are computed in float32: `P k` rounded to a half type would cost the difference of
    two large numbers all its digits.

    Args:
        q: Queries, shape (B, H, N, D), without gradient.
        k: Keys, same shape and dtype.
        scale: Factor of the logits.

    Returns:
        Score, shape (B, N), float32 (float64 for float64), in [-log N, 0].
    """
    assert _ATTENTION is not None
    work = torch.promote_types(q.dtype, torch.float32)
    num_tokens = q.shape[2]
    if q.numel() == 0:
        return q.new_zeros((q.shape[0], num_tokens), dtype=work)
    q, k = q.to(work).contiguous(), k.to(work)
    # The same for all keys changes no probability, and both terms below are smaller without it.
    k = (k - k.mean(dim=2, keepdim=True)).contiguous()
    expected_k, lse = _ATTENTION(q, k, k, scale=scale)  # (B, H, N, D), (B, H, N)
    entropy: Tensor = (q * expected_k).sum(dim=-1) * scale - lse
    # Rounding, relative to the logits, can leave the range of a negative entropy.
    return entropy.clamp(-math.log(num_tokens), 0).mean(dim=1)
