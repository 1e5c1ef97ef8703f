"""What merging a pair of tokens is worth, and which destination each source proposes to.

Letters: `B` clips, `N` tokens now, `M` mergeable tokens, `S` sources, `C` channels.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from vidtldr.autocast import without_autocast

__all__ = ["large_norms", "lower", "propose"]

_LAST = 1e4  # more than pairs differ by, unless both stand for thousands of tokens


def propose(
    metric: Tensor, mass: Tensor | None = None, spared: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Let each source, an even token, choose its best destination, an odd one.

    A pair is worth its cosine. With `mass` it is worth 1 minus the cost of Ward's linkage: merging
    two unit vectors of mass a and b adds `(1 - cosine) 2ab / (a + b)` to the sum of squared
    distances within groups. For masses of 1 that is the cosine; between heavier tokens the same
    difference costs more, so that large groups stop growing.

    Args:
        metric: The features compared, shape (B, M, C), at least float32.
        mass: Mass of each token, shape (B, M), positive; None for the cosine alone.
        spared: True for tokens that merge only if no others are left, bool, shape (B, M).

    Returns:
        Value and index among the destinations of each source's proposal, both (B, S). Where there
        is no destination, zeros.

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
        of_mass = 0.5 / mass.to(value.dtype)
        ward = (of_mass[:, 0::2, None] + of_mass[:, None, 1::2]).reciprocal()
        # 1 - ward * (1 - value), by a formula that leaves the cosine of masses of 1 as it is.
        value = torch.lerp(value.new_ones(()), value, ward)
    if spared is not None:
        value = value - _LAST * (spared[:, 0::2, None] | spared[:, None, 1::2]).to(value.dtype)
    best = value.max(dim=-1)
    return best.values, best.indices


def lower(value: Tensor, protection: Tensor) -> Tensor:
    """Lower the value of each source's proposal by its protection.

    Args:
        value: From `propose`, shape (B, S).
        protection: Of each source, shape (B, S), at least 0, in standard deviations of the values
            of its clip, spared tokens left out: cosines differ by little in some layers and by much
            in others.

    Returns:
        The lowered values, shape (B, S).
    """
    counts = (value > -_LAST / 2).to(value.dtype)
    num_counted = counts.sum(dim=-1, keepdim=True).clamp(min=1)
    mean = (counts * value).sum(dim=-1, keepdim=True) / num_counted
    variance = (counts * (value - mean).square()).sum(dim=-1, keepdim=True) / num_counted
    return value - variance.sqrt() * protection.to(value.dtype)


def large_norms(x: Tensor, times: float) -> Tensor:
    """Mark the outliers of each clip: tokens much longer than its median token.

    Some models keep what is common to the whole image in a few such tokens, which others attend to
    most ("registers", "sinks").

    Args:
        x: Tokens, shape (B, M, C).
        times: How many times the median norm is an outlier's, above 1.

    Returns:
        True for outliers, bool, shape (B, M).

    Source: Darcet et al., ICLR 2024 (artefacts of large norm); Sun et al., COLM 2024.
    """
    norms = torch.linalg.vector_norm(x.to(torch.promote_types(x.dtype, torch.float32)), dim=-1)
    # Not `median`, which exporters lack; the same value, the lower one of two.
    median = norms.topk(norms.shape[-1] // 2 + 1, dim=-1).values[:, -1:]
    is_large: Tensor = norms > times * median
    return is_large
