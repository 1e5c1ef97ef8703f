"""Merging between the two halves of a block: score, match, merge.

Letters: `B` clips, `N` tokens now, `C` channels, `D` channels a head.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from vidtldr.config import MergeConfig, Metric
from vidtldr.hosts.host import Attended
from vidtldr.hosts.token_score import WEIGHTINGS, level_noise, token_score
from vidtldr.method.matching import Match, match_tokens
from vidtldr.method.merging import merge_tokens

__all__ = ["Merged", "merge_attended"]


class Merged(NamedTuple):
    """The tokens after a merge, and what determined it.

    Attributes:
        x: Tokens, shape (B, N - r, C).
        mass: Their mass, shape (B, N - r).
        match: Which tokens merged into which.
        score: Score of the mergeable tokens before it, shape (B, N - prefix); None without one.
        weights: Merge weight of each of them, shaped like `score`; None without a score.
    """

    x: Tensor
    mass: Tensor
    match: Match
    score: Tensor | None
    weights: Tensor | None


def merge_attended(
    attended: Attended,
    mass: Tensor,
    r: int,
    config: MergeConfig,
    *,
    num_prefix_tokens: int,
    mlp_half: Callable[[Tensor], Tensor],
) -> Merged:
    """Score, match and merge tokens between attention and MLP.

    Args:
        attended: The block half way.
        mass: Mass of each token, shape (B, N).
        r: Tokens to remove.
        config: Gives the score, weighting and metric.
        num_prefix_tokens: Tokens at the front that never merge.
        mlp_half: The rest of the block: its MLP and residual.
    """
    score = token_score(config.score, attended.x, attended.score, mlp_half)
    weights = None
    if score is not None:
        assert config.score is not None
        score = level_noise(score[:, num_prefix_tokens:], config.score, attended.x.dtype)
        weights = WEIGHTINGS[config.weighting](score)
    match = match_tokens(_metric(config.metric, attended), r, num_prefix_tokens)
    x, mass = merge_tokens(attended.x, mass, match, weights)
    return Merged(x, mass, match, score, weights)


def _metric(metric: Metric, attended: Attended) -> Tensor:
    """Features compared to pair tokens: shape (B, N, C), or (B, N, D) of keys."""
    if metric == "random":
        return torch.randn(attended.x.shape, device=attended.x.device)
    return attended.x if metric == "x" else attended.keys.mean(dim=1)
