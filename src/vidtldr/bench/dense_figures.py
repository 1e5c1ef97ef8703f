"""How far a dense output moved, and how well a saliency map finds a mask.

Letters: `B` pictures, `N` patches, `C` channels, `S` side of a map in pixels.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from vidtldr.bench.saliency_quality import auroc

__all__ = ["NUM_THRESHOLDS", "agreement", "feature_distance", "map_auroc", "map_change", "max_f"]

BETA_SQUARED = 0.3
NUM_THRESHOLDS = 255


def feature_distance(features: Tensor, unmerged: Tensor) -> float:
    """Return the mean cosine distance of patch features from the unmerged model's, in [0, 2].

    Args:
        features: Features, shape (B, N, C), none of them all zeros.
        unmerged: The unmerged model's, same shape.
    """
    cosine = F.cosine_similarity(features.double(), unmerged.double(), dim=-1)
    return 1 - cosine.mean().item()


def map_change(saliency: Tensor, unmerged: Tensor) -> float:
    """Return the mean absolute change of maps of any shape, equal for both."""
    return (saliency.double() - unmerged.double()).abs().mean().item()


def max_f(saliency: Tensor, mask: Tensor) -> float:
    """Return the highest F-measure of a map over 255 thresholds.

    A pixel counts as found if it exceeds the threshold; thresholds are k / 255 for k from 0 to 254.

    Args:
        saliency: One map, shape (S, S), in [0, 1].
        mask: Its true foreground, same shape, bool, with both classes.

    Returns:
        In [0, 1].

    Source: Achanta et al., CVPR 2009 (frequency-tuned salient region detection), for β² = 0.3; the
    maximum over thresholds is the convention in salient object detection.
    """
    thresholds = torch.arange(NUM_THRESHOLDS, dtype=torch.float64) / NUM_THRESHOLDS
    # The number of thresholds that each pixel exceeds: it is found at exactly those, the lowest.
    exceeded = torch.searchsorted(thresholds, saliency.double().flatten().cpu())
    foreground = mask.flatten().cpu()
    hits, found = (
        _still_found(exceeded[where]) for where in (foreground, torch.ones_like(foreground))
    )
    return _f_measure(hits, found, foreground.sum()).max().item()


def agreement(saliency: Tensor, unmerged: Tensor) -> float | None:
    """Return the F-measure of a map against the unmerged model's, both thresholded at 0.5.

    It does not measure accuracy, because the unmerged map may be wrong.

    Args:
        saliency: One map, shape (S, S).
        unmerged: The unmerged model's map, same shape.

    Returns:
        In [0, 1], 1 for equal maps; None if the unmerged map is nowhere above 0.5.
    """
    ours, own = saliency > 0.5, unmerged > 0.5
    if not own.any():
        return None
    return _f_measure((ours & own).sum(), ours.sum(), own.sum()).item()


def map_auroc(saliency: Tensor, mask: Tensor) -> float:
    """Return the probability that a foreground pixel is more salient than a background pixel.

    Args:
        saliency: One map, shape (S, S).
        mask: Its true foreground, same shape, bool, with both classes.
    """
    return auroc(saliency.flatten()[None].cpu(), mask.flatten().cpu()).item()


def _still_found(exceeded: Tensor) -> Tensor:
    """Count the pixels found at each threshold, from how many thresholds each of them exceeds."""
    counts = torch.bincount(exceeded, minlength=NUM_THRESHOLDS + 1)
    return counts.flip(0).cumsum(0).flip(0)[1:]


def _f_measure(hits: Tensor, found: Tensor, num_foreground: Tensor) -> Tensor:
    """Return (1 + β²)PR / (β²P + R) from counts, without dividing by 0 where nothing is found."""
    hits, found, num_foreground = hits.double(), found.double(), num_foreground.double()
    f = (1 + BETA_SQUARED) * hits / (BETA_SQUARED * num_foreground + found)
    return f.clamp(max=1)  # rounding can exceed 1
