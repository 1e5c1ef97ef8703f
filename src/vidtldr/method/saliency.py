"""Saliency from the sharpness of attention (vid-TLDR Eq. 5, 8, 9).

Letters: `B` clips, `N` tokens now.
"""

import torch
from torch import Tensor

__all__ = ["foreground_mask", "masked_saliency", "saliency"]


def saliency(score: Tensor) -> Tensor:
    """Stretch the score of each clip's tokens to [0, 1] (vid-TLDR Eq. 5).

    Args:
        score: Sharpness (negative entropy of attention, nats) or any score that grows with
            importance, shape (B, N), finite.

    Returns:
        Saliency, shape (B, N), in [0, 1]; float64 for float64 input, else float32. A clip whose
        score is constant has no background: all ones.

    Raises:
        ValueError: If `score` is not (B, N).
        TypeError: If `score` is not floating point.

    Source: Choi et al., CVPR 2024, Eq. 5. Differs from the authors' code: constant input gives
    ones, not NaN.
    """
    score = _validate_score(score)
    low, high = torch.aminmax(score, dim=-1, keepdim=True)
    return _divide_or_one(score - low, high - low)


def foreground_mask(score: Tensor) -> Tensor:
    """Mark foreground 1 and background, below the clip's mean, 0 (vid-TLDR Eq. 8).

    Args:
        score: Sharpness (negative entropy of attention, nats) or any score that grows with
            importance, shape (B, N), finite.

    Returns:
        Mask, shape (B, N), of 0 and 1; float64 for float64 input, else float32. A clip whose score
        is constant has no background: all ones.

    Raises:
        ValueError: If `score` is not (B, N).
        TypeError: If `score` is not floating point.

    Source: Choi et al., CVPR 2024, Eq. 8. Unchanged by the stretch of Eq. 5, so it is computed on
    the score itself.
    """
    score = _validate_score(score)
    mean = score.mean(dim=-1, keepdim=True)
    # The mean of a constant clip may be rounded to above all of its tokens.
    is_foreground = (score >= mean) | (score.amax(dim=-1, keepdim=True) <= mean)
    return is_foreground.to(score.dtype)


def masked_saliency(score: Tensor) -> Tensor:
    """Turn a score into merge weights: background 0, foreground stretched to (0, 1] (Eq. 5, 8, 9).

    Background is everything below the clip's mean. Eq. 9 is unchanged by the stretch of Eq. 5, so
    it is computed on the score itself, which avoids the rounding of the first division.

    Args:
        score: Sharpness (negative entropy of attention, nats) or any score that grows with
            importance, shape (B, N), finite.

    Returns:
        Weights, shape (B, N), in [0, 1]; float64 for float64 input, else float32. A clip whose
        score is constant has no background: all its weights are 1, which is plain merging.

    Raises:
        ValueError: If `score` is not (B, N).
        TypeError: If `score` is not floating point.

    Source: Choi et al., CVPR 2024, Eq. 5, 8, 9. Differs from the authors' code: constant input
    gives ones.
    """
    score = _validate_score(score)
    mean = score.mean(dim=-1, keepdim=True)
    highest = score.amax(dim=-1, keepdim=True)
    return _divide_or_one((score - mean).clamp(min=0), highest - mean)


def _divide_or_one(numerator: Tensor, spread: Tensor) -> Tensor:
    """Compute `numerator / spread`, or 1 where a constant clip or rounding leaves no spread."""
    has_spread = spread > 0
    divided = numerator / torch.where(has_spread, spread, 1.0)
    return torch.where(has_spread, divided, 1.0)


def _validate_score(score: Tensor) -> Tensor:
    if score.dim() != 2:
        raise ValueError(
            f"score must be (B, N), got shape {tuple(score.shape)}. Reduce over heads first."
        )
    if not score.is_floating_point():
        raise TypeError(
            f"score must be floating point, got {score.dtype}. Convert it with .float()."
        )
    return score if score.dtype == torch.float64 else score.float()
