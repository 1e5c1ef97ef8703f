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
        score: Score of the mergeable tokens before it, those between prefix and suffix, (B, M);
            None without one. Tokens of a tube have its mean.
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
    num_suffix_tokens: int = 0,
    tube_length: int = 1,
) -> Merged:
    """Score, match and merge tokens between attention and MLP.

    Args:
        attended: The block half way.
        mass: Mass of each token, shape (B, N).
        r: Tokens, or tubes, to remove.
        config: Gives the score, weighting and metric.
        num_prefix_tokens: Tokens at the front that never merge.
        mlp_half: The rest of the block: its MLP and residual.
        num_suffix_tokens: Tokens at the back that never merge.
        tube_length: T, neighbouring tokens that merge as one, by one score and one match.
    """
    score = token_score(config.score, attended.x, attended.score, mlp_half)
    weights = None
    if score is not None:
        assert config.score is not None
        score = score[:, num_prefix_tokens : score.shape[1] - num_suffix_tokens]
        if tube_length > 1:
            of_tubes = score.reshape(score.shape[0], -1, tube_length).mean(dim=2)
            score = of_tubes.repeat_interleave(tube_length, dim=1)
        score = level_noise(score, config.score, attended.x.dtype)
        weights = WEIGHTINGS[config.weighting](score)
    metric = _metric(config.metric, attended)
    match = match_tokens(metric, r, num_prefix_tokens, num_suffix_tokens, tube_length)
    x, mass = merge_tokens(attended.x, mass, match, weights)
    return Merged(x, mass, match, score, weights)


def _metric(metric: Metric, attended: Attended) -> Tensor:
    """Features compared to pair tokens: shape (B, N, C), or (B, N, D) of keys."""
    if metric == "random":
        return torch.randn(attended.x.shape, device=attended.x.device)
    return attended.x if metric == "x" else attended.keys.mean(dim=1)
