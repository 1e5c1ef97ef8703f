"""Attention with mass and score in operators that every exporter knows, for graphs alone.

As `blocked.py`, but nothing is written in place and no operator is this package's own. Blocks are
larger, so that a graph stays small: engines reuse memory by themselves.

Letters: `B` clips, `H` heads, `N` tokens now, `D` channels a head, `R` query rows of a block.
"""

import torch
from torch import Tensor

__all__ = ["exported_attention"]

# What logarithms are taken of is at least this: it changes no sum over keys, and 0 log 0 is 0.
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
    if mass is not None:  # the last channel becomes the sum of the weights, without another pass
        weights = mass.to(work)[:, None, :, None].expand(*v.shape[:3], 1)
        values = torch.cat((values * weights, weights), dim=-1)
    num_blocks = -(-num_heads * num_tokens**2 * work.itemsize // _BLOCK_BYTES)
    num_rows = -(-num_tokens // max(num_blocks, 1))
    attended, scores = [], []
    for start in range(0, num_tokens, num_rows):
        rows = slice(start, min(start + num_rows, num_tokens))
        attn = (q[:, :, rows].to(work) @ keys).softmax(dim=-1)  # (B, H, R, N)
        scores.append(_score_of_rows(attn.detach(), score))
        x = attn @ values
        attended.append(x if mass is None else x[..., :-1] / x[..., -1:])
    x = torch.cat(attended, dim=2).to(v.dtype)
    if score == "received":
        return x, torch.stack(scores).sum(dim=0) / num_tokens
    return x, torch.cat(scores, dim=1)


def _score_of_rows(attn: Tensor, score: str) -> Tensor:
    """Sharpness of some rows, (B, R), or the attention that they pay to every key, (B, N)."""
    if score == "sharpness-per-head":
        return (attn * attn.clamp_min(_LEAST).log()).sum(dim=-1).mean(dim=1)
    attn = attn.mean(dim=1)
    if score == "received":
        return attn.sum(dim=1)
    return (attn * attn.clamp_min(_LEAST).log()).sum(dim=-1)
