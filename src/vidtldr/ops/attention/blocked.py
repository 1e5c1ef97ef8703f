"""Attention with mass and score, a block of query rows at a time, in plain torch.

The score needs the mean over heads, which does not split over heads, so a block holds the
probabilities of all heads for a few query rows. One softmax serves the score and the values: the
    values are weighed by
`P_ij mass_j / Σ_j P_ij mass_j`, so mass goes into `v` and into one extra channel that sums it up.

Letters: `B` clips, `H` heads, `N` tokens now, `D` channels a head, `R` query rows of a block.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

__all__ = ["blocked_attention", "blocked_score"]


def blocked_attention(
    q: Tensor, k: Tensor, v: Tensor, scale: float, mass: Tensor | None, score: str
) -> tuple[Tensor, Tensor]:
    """`attend` with a score, without the map. No gradient flows through it.

    Args:
        q: Queries, shape (B, H, N, D).
        k: Keys, shape (B, H, N, D).
        v: Values, shape (B, H, N, D).
        scale: Factor of the logits.
        mass: Mass of each key, shape (B, N), positive, or None.
        score: `"sharpness"` or `"received"`.

    Returns:
        Attended values, shape (B, H, N, D), dtype of `v`, and the score, shape (B, N).
    """
    work = torch.promote_types(v.dtype, torch.float32)
    values = _weigh(v.to(work), mass)
    x, scores = [], []
    for attn in _blocks_of_attention(q, k, scale):
        x.append(_normalise(attn @ values, mass).to(v.dtype))
        scores.append(_score_of_rows(attn, score))
    return torch.cat(x, dim=2), _join(scores, score)


def blocked_score(q: Tensor, k: Tensor, scale: float, score: str) -> Tensor:
    """The score alone, shape (B, N); arguments as in `blocked_attention`."""
    return _join([_score_of_rows(attn, score) for attn in _blocks_of_attention(q, k, scale)], score)


def _blocks_of_attention(q: Tensor, k: Tensor, scale: float) -> Iterator[Tensor]:
    """Softmax without mass of consecutive query rows, (B, H, R, N) each."""
    work = torch.promote_types(q.dtype, torch.float32)
    keys = k.to(work).transpose(-1, -2).contiguous()  # read once a block: (B, H, D, N)
    for rows in torch.split(q, _rows_per_block(q), dim=2):
        yield torch.softmax((rows.to(work) * scale) @ keys, dim=-1)


def _rows_per_block(q: Tensor) -> int:
    """As many rows as keep a block's probabilities no larger than q, k and v of one clip are.

    Then the peak of memory stays that of the layer's own tensors. Speed is flat from 16 to 256
    rows.
    """
    batch, _, _, channels = q.shape
    return max(16, 3 * channels // max(batch, 1))


def _weigh(values: Tensor, mass: Tensor | None) -> Tensor:
    """Values times mass with mass itself as one more channel: (B, H, N, D + 1)."""
    if mass is None:
        return values
    weights = mass.to(values.dtype)[:, None, :, None].expand(*values.shape[:-1], 1)
    return torch.cat([values * weights, weights], dim=-1)


def _normalise(x: Tensor, mass: Tensor | None) -> Tensor:
    return x if mass is None else x[..., :-1] / x[..., -1:]


def _score_of_rows(attn: Tensor, score: str) -> Tensor:
    """Sharpness of a block's rows, (B, R), or what they give to every key, (B, N)."""
    mean = attn.mean(dim=1)  # (B, R, N)
    if score == "received":
        return mean.sum(dim=1)
    return torch.xlogy(mean, mean).sum(dim=-1)


def _join(scores: list[Tensor], score: str) -> Tensor:
    if score == "sharpness":
        return torch.cat(scores, dim=1)
    total = torch.stack(scores).sum(dim=0)  # (B, N)
    return total / total.shape[-1]
