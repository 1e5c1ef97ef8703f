"""Textbook attention with mass and score: it stores the whole map.

Letters: `B` clips, `H` heads, `N` tokens now, `D` channels a head.
"""

import torch
from torch import Tensor

__all__ = ["reference_attention"]

# Logits are clamped to this many nats below their row's largest: 4e-31 of its probability, which
# changes no sum over keys and keeps subnormal numbers from slowing the product down.
_DEPTH = 70.0


def reference_attention(
    q: Tensor, k: Tensor, v: Tensor, scale: float, mass: Tensor | None, score: str | None
) -> tuple[Tensor, Tensor | None]:
    """Define `attend`, in float32 for half types and otherwise in the given dtype.

    Args:
        q: Queries, shape (B, H, N, D).
        k: Keys, shape (B, H, N, D).
        v: Values, shape (B, H, N, D).
        scale: Factor of the logits.
        mass: Mass of each key, shape (B, N), positive, or None.
        score: One of `AttentionScore`, or None.

    Returns:
        Attended values, shape (B, H, N, D), dtype of `v`, and the score, shape (B, N), or None.
    """
    work = torch.promote_types(q.dtype, torch.float32)
    logits = q.to(work) @ k.to(work).transpose(-1, -2) * scale  # (B, H, N, N)
    logits = torch.maximum(logits, logits.detach().amax(dim=-1, keepdim=True) - _DEPTH)
    biased = logits if mass is None else logits + mass.detach().to(work).log()[:, None, None, :]
    x = (biased.softmax(dim=-1) @ v.to(work)).to(v.dtype)
    if score is None:
        return x, None
    attn = logits.detach().softmax(dim=-1)  # (B, H, N, N)
    if score == "sharpness-per-head":
        return x, (attn * attn.log()).sum(dim=-1).mean(dim=1)
    attn = attn.mean(dim=1)  # (B, N, N)
    if score == "received":
        return x, attn.mean(dim=1)
    return x, (attn * attn.log()).sum(dim=-1)  # no weight is 0: `_DEPTH` bounds them
