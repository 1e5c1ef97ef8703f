"""The value of merging a pair of tokens, and the destination that each source proposes to.

Letters: `B` clips, `M` mergeable tokens, `S` sources (the even ones), `C` channels.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from vidtldr.autocast import without_autocast

__all__ = ["apply_protection", "find_outliers", "propose"]

#: Taken off the value of a pair with a spared token. It exceeds every difference between values,
#: unless both tokens of a pair have a mass of thousands.
_SPARED_PENALTY = 1e4


def propose(
    metric: Tensor, mass: Tensor | None = None, spared: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Find the best destination, an odd token, for each source, an even token.

    The value of a pair is its cosine similarity. With `mass` it is 1 minus the cost of Ward's
    linkage: merging two unit vectors of mass a and b adds `(1 - cosine) 2ab / (a + b)` to the
    within-group sum of squares. For masses of 1 that value is the cosine. The heavier the tokens,
    the more the same difference costs, so large groups stop growing.

    Args:
        metric: The features compared, shape (B, M, C), at least float32.
        mass: Mass of each token, shape (B, M), positive; None for the cosine alone.
        spared: True for tokens that merge only when no others are left, bool, shape (B, M).

    Returns:
        For each source the value of its best pair, and that destination's index among the
        destinations, both (B, S). Zeros if there is no destination.

    Source: Bolya et al., ICLR 2023 (the cosine); Ward, JASA 1963 (the linkage).
    """
    metric = F.normalize(metric, dim=-1)
    sources, destinations = metric[:, 0::2], metric[:, 1::2]
    if destinations.shape[1] == 0:  # one mergeable token
        nothing = sources.new_zeros(sources.shape[:2])
        return nothing, nothing.long()
    with without_autocast(metric.device):  # half types would create ties, broken by position
        value = sources @ destinations.transpose(-1, -2)  # (B, S, M - S)
    if mass is not None:
        value = _ward_value(value, mass)
    if spared is not None:
        has_spared = spared[:, 0::2, None] | spared[:, None, 1::2]
        value = value - _SPARED_PENALTY * has_spared.to(value.dtype)
    best = value.max(dim=-1)
    return best.values, best.indices


def _ward_value(cosine: Tensor, mass: Tensor) -> Tensor:
    """Turn the cosine of each pair, (B, S, M - S), into 1 minus the cost of Ward's linkage."""
    inverse = 0.5 / mass.to(cosine.dtype)
    weight = (inverse[:, 0::2, None] + inverse[:, None, 1::2]).reciprocal()  # 2ab / (a + b)
    # 1 - weight * (1 - cosine); unlike that, `lerp` returns the very cosine for a weight of 1.
    return torch.lerp(cosine.new_ones(()), cosine, weight)


def apply_protection(value: Tensor, protection: Tensor) -> Tensor:
    """Lower the value of each source's best pair by its protection.

    The unit is the standard deviation of the clip's values, because cosines differ little in some
    layers and much in others. Spared tokens do not count in it.

    Args:
        value: From `propose`, shape (B, S).
        protection: Protection of each source, in standard deviations, at least 0, shape (B, S).

    Returns:
        The lowered values, shape (B, S).
    """
    counts = (value > -_SPARED_PENALTY / 2).to(value.dtype)
    num_counted = counts.sum(dim=-1, keepdim=True).clamp(min=1)
    mean = (counts * value).sum(dim=-1, keepdim=True) / num_counted
    variance = (counts * (value - mean).square()).sum(dim=-1, keepdim=True) / num_counted
    return value - variance.sqrt() * protection.to(value.dtype)


def find_outliers(x: Tensor, times: float) -> Tensor:
    """Mark each clip's tokens of outlying norm, far above its median.

    Some models store what concerns the whole image in a few such tokens, and the others attend to
    them most ("registers", "attention sinks").

    Args:
        x: Tokens, shape (B, M, C).
        times: A token is an outlier if its norm is more than this many times the median; above 1.

    Returns:
        True for outliers, bool, shape (B, M).

    Source: Darcet et al., ICLR 2024 (artefacts of large norm); Sun et al., COLM 2024.
    """
    norms = torch.linalg.vector_norm(x.to(torch.promote_types(x.dtype, torch.float32)), dim=-1)
    # Not `median`, which exporters lack; the same value, the lower one of two.
    median = norms.topk(norms.shape[-1] // 2 + 1, dim=-1).values[:, -1:]
    is_large: Tensor = norms > times * median
    return is_large
