"""Attention with mass and score in operators that every exporter knows, for graphs alone.

As `blocked.py`, but nothing is written in place and no operator is this package's own. Blocks are
larger, so that a graph stays small: engines reuse memory by themselves.

Letters: `B` clips, `H` heads, `N` tokens now, `D` channels a head, `R` query rows of a block.
"""

import torch
from torch import Tensor

__all__ = ["exported_attention"]

# Probabilities are at least this: 4e-31 changes no sum over keys, its logarithm is finite, and
# there are no subnormal numbers, which make products slow on some processors.
_LEAST = 4e-31

_BLOCK_BYTES = 128 << 20


def exported_attention(
    q: Tensor, k: Tensor, v: Tensor, scale: float, mass: Tensor | None, score: str
) -> tuple[Tensor, Tensor]:
    """Compute `attend` with a score; gradients flow through the values attended.

    Args:
        q: Queries, shape (B, H, N, D).
        k: Keys, shape (B, H, N, D).
        v: Values, shape (B, H, N, D).
        scale: Factor of the logits.
        mass: Mass of each key, shape (B, N), positive, or None.
        score: One of `AttentionScore`.

    Returns:
        Attended values, shape (B, H, N, D), dtype of `v`, and the score, shape (B, N), float32 or
        better.
    """
    work = torch.promote_types(q.dtype, torch.float32)
    num_heads, num_tokens = int(q.shape[1]), int(q.shape[2])
    keys = (k.to(work) * scale).transpose(-1, -2)
    values = v.to(work)
    weights = None if mass is None else mass.to(work)[:, None, None, :]
    num_blocks = -(-num_heads * num_tokens**2 * work.itemsize // _BLOCK_BYTES)
    num_rows = -(-num_tokens // max(num_blocks, 1))
    attended, scores = [], []
    for start in range(0, num_tokens, num_rows):
        rows = slice(start, min(start + num_rows, num_tokens))
        logits = q[:, :, rows].to(work) @ keys  # (B, H, R, N)
        attn = logits.softmax(dim=-1).clamp_min(_LEAST)
        scores.append(_score_of_rows(attn.detach(), score))
        if weights is None:
            attended.append(attn @ values)
        else:
            weighted = attn * weights
            attended.append(weighted @ values / weighted.sum(dim=-1, keepdim=True))
    x = torch.cat(attended, dim=2).to(v.dtype)
    if score == "received":
        return x, torch.stack(scores).sum(dim=0) / num_tokens
    return x, torch.cat(scores, dim=1)


def _score_of_rows(attn: Tensor, score: str) -> Tensor:
    """Sharpness of some rows, (B, R), or the attention that they pay to every key, (B, N)."""
    if score == "sharpness-per-head":
        return (attn * attn.log()).sum(dim=-1).mean(dim=1)
    attn = attn.mean(dim=1)
    return attn.sum(dim=1) if score == "received" else (attn * attn.log()).sum(dim=-1)
