"""Bipartite soft matching: which tokens merge into which.

Letters: `B` clips, `N` tokens now, `C` channels.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from vidtldr.autocast import without_autocast
from vidtldr.schedule import validate_r

__all__ = ["Match", "match_tokens"]


class Match(NamedTuple):
    """Who merges into whom in one layer; indices are on the token axis before the merge.

    Token order after the merge: prefix tokens, `kept`, destinations.

    Attributes:
        kept: Sources that do not merge, in their original order, shape (B, S - r), int64.
        src: Sources that merge, best match first, shape (B, r), int64.
        dst: The destination that each of `src` merges into, shape (B, r), int64.
        num_tokens: N before the merge, prefix tokens included.
        num_prefix_tokens: Class and register tokens at the front, which take no part.
    """

    kept: Tensor
    src: Tensor
    dst: Tensor
    num_tokens: int
    num_prefix_tokens: int


def match_tokens(metric: Tensor, r: int, num_prefix_tokens: int = 0) -> Match:
    """Pair the `r` most similar (source, destination) tokens of each clip.

    Behind the prefix, even tokens are sources and odd tokens are destinations. Each source proposes
    to its most similar destination by cosine; the `r` best proposals win, ties going to
    the earlier. A token of zero length is similar to nothing (cosine 0).

    Args:
        metric: The features compared, shape (B, N, C). Half types are compared in float32.
        r: Tokens to remove, in [0, (N - num_prefix_tokens) // 2].
        num_prefix_tokens: Tokens at the front that are never matched.

    Returns:
        The match. Its shapes depend only on B, N and r.

    Raises:
        ValueError: If `metric` is not (B, N, C), or `r` or `num_prefix_tokens` is out of range.
        TypeError: If `metric` is not floating point or `r` is not an int.

    Source: Bolya et al., ICLR 2023 (bipartite soft matching); Choi et al., CVPR 2024 (on the
    residual stream).
    """
    num_tokens = _validate_metric(metric, r, num_prefix_tokens)
    best_similarity, best_destination = _propose(metric.detach()[:, num_prefix_tokens:])
    order = best_similarity.argsort(dim=-1, descending=True, stable=True)
    merged, kept = order[:, :r], order[:, r:].sort(dim=-1).values
    return Match(
        kept=num_prefix_tokens + 2 * kept,
        src=num_prefix_tokens + 2 * merged,
        dst=num_prefix_tokens + 2 * best_destination.gather(-1, merged) + 1,
        num_tokens=num_tokens,
        num_prefix_tokens=num_prefix_tokens,
    )


def _propose(metric: Tensor) -> tuple[Tensor, Tensor]:
    """Similarity and index of each source's best destination, both (B, S)."""
    if metric.dtype != torch.float64:
        metric = metric.float()
    metric = F.normalize(metric, dim=-1)
    sources, destinations = metric[:, 0::2], metric[:, 1::2]
    if destinations.shape[1] == 0:  # one mergeable token: no destination
        return sources.new_zeros(sources.shape[:2]), sources.new_zeros(
            sources.shape[:2], dtype=torch.long
        )
    with without_autocast(metric.device):  # half types would create ties, broken by position
        similarity = sources @ destinations.transpose(-1, -2)  # (B, S, N - S)
    best = similarity.max(dim=-1)
    return best.values, best.indices


def _validate_metric(metric: Tensor, r: int, num_prefix_tokens: int) -> int:
    if metric.dim() != 3:
        raise ValueError(
            f"metric must be (B, N, C), got shape {tuple(metric.shape)}. Flatten or average the "
            "heads."
        )
    if not metric.is_floating_point():
        raise TypeError(
            f"metric must be floating point, got {metric.dtype}. Convert it with .float()."
        )
    num_tokens = metric.shape[1]
    if not 0 <= num_prefix_tokens <= num_tokens:
        raise ValueError(
            f"num_prefix_tokens must be in [0, {num_tokens}] (the number of tokens), got "
            f"{num_prefix_tokens}. Count class and register tokens only."
        )
    validate_r(r, num_tokens - num_prefix_tokens)
    return num_tokens
