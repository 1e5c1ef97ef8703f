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
from vidtldr.method.proposals import find_outliers
from vidtldr.method.saliency import saliency

__all__ = ["Merged", "merge_attended", "unit_mass"]


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
    mass: Tensor | None,
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
        mass: Mass of each token, shape (B, N). None if every mass is 1: then Ward's linkage is
            the cosine, and its computation is skipped.
        r: Tokens, or tubes, to remove.
        config: Gives score, weighting, metric, linkage and protection.
        num_prefix_tokens: Tokens at the front that never merge.
        mlp_half: The rest of the block: its MLP and residual.
        num_suffix_tokens: Tokens at the back that never merge.
        tube_length: T, neighbouring tokens that merge as one, by one score and one match.
    """
    score = token_score(config.score, attended.x, attended.score, mlp_half)
    weights = protection = None
    if score is not None:
        assert config.score is not None
        score = score[:, num_prefix_tokens : score.shape[1] - num_suffix_tokens]
        if tube_length > 1:
            of_tubes = score.reshape(score.shape[0], -1, tube_length).mean(dim=2)
            score = of_tubes.repeat_interleave(tube_length, dim=1)
        score = level_noise(score, config.score, attended.x.dtype)
        weights = WEIGHTINGS[config.weighting](score)
        protection = config.protect * saliency(score) if config.protect else None
    match = match_tokens(
        _metric(config.metric, attended),
        r,
        num_prefix_tokens,
        num_suffix_tokens,
        tube_length,
        mass=mass if config.linkage == "ward" else None,
        protection=protection,
        spared=_outliers(attended.x, config, num_prefix_tokens, num_suffix_tokens, tube_length),
    )
    if mass is None:
        mass = unit_mass(attended.x)
    x, mass = merge_tokens(attended.x, mass, match, weights)
    return Merged(x, mass, match, score, weights)


def unit_mass(x: Tensor) -> Tensor:
    """Mass of tokens (B, N, C) of which none has merged: ones (B, N), at least float32."""
    dtype = torch.promote_types(x.dtype, torch.float32)
    return torch.ones(x.shape[:2], dtype=dtype, device=x.device)


def _outliers(
    x: Tensor, config: MergeConfig, num_prefix_tokens: int, num_suffix_tokens: int, tube_length: int
) -> Tensor | None:
    """Tokens that the config spares, bool (B, M); a tube is spared if one of its tokens is."""
    if config.spare_norms is None:
        return None
    mergeable = x.detach()[:, num_prefix_tokens : x.shape[1] - num_suffix_tokens]
    outliers = find_outliers(mergeable, config.spare_norms)
    if tube_length == 1:
        return outliers
    of_tubes = outliers.reshape(x.shape[0], -1, tube_length).any(dim=2)
    return of_tubes.repeat_interleave(tube_length, dim=1)


def _metric(metric: Metric, attended: Attended) -> Tensor:
    """Features compared to pair tokens: shape (B, N, C), or (B, N, D) of keys."""
    if metric == "random":
        return torch.randn(attended.x.shape, device=attended.x.device)
    return attended.x if metric == "x" else attended.keys.mean(dim=1)
