"""Features as colours: their three principal directions become red, green and blue.

Letters: `N0` patches, `C` channels.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["cosine_kept", "features_to_rgb"]

_QUANTILES = (0.02, 0.98)


def features_to_rgb(unmerged: Tensor, *others: Tensor) -> tuple[NDArray[np.uint8], ...]:
    """Project features of the same patches to colours that can be compared.

    The directions and the range are those of `unmerged`, so equal colours mean equal features on
    every side. A direction without variation is grey.

    Args:
        unmerged: Features of the unmerged model, shape (N0, C), finite.
        *others: Features of other sides, same shape.

    Returns:
        Colours of each side, shape (N0, 3), `unmerged` first.

    Raises:
        ValueError: If a side has another shape.
    """
    for other in others:
        if other.shape != unmerged.shape:
            raise ValueError(
                f"features must be {tuple(unmerged.shape)} on every side, got "
                f"{tuple(other.shape)}. Unmerge tokens first."
            )
    mean = unmerged.mean(dim=0)
    directions = _main_directions(unmerged - mean)
    projected = (unmerged - mean) @ directions
    low, high = torch.quantile(projected, projected.new_tensor(_QUANTILES), dim=0)
    spread = torch.where(high > low, high - low, torch.full_like(high, torch.inf))
    middle = (low + high) / 2
    colours = []
    for side in (unmerged, *others):
        unit = ((side - mean) @ directions - middle) / spread + 0.5
        colours.append((unit.clamp(0, 1) * 255).round().to(torch.uint8).numpy())
    return tuple(colours)


def cosine_kept(unmerged: Tensor, merged: Tensor) -> float:
    """Measure how similar the features of a patch stay, in [-1, 1]: 1 if nothing changed.

    Args:
        unmerged: Features of the unmerged model, shape (N0, C).
        merged: Features of the merged model, unmerged to every patch, same shape.

    Returns:
        Mean cosine over patches, with the unmerged side's mean subtracted from both: what all
        patches share would hide what they lost.
    """
    mean = unmerged.mean(dim=0)
    return (
        torch.nn.functional.cosine_similarity(unmerged - mean, merged - mean, dim=-1).mean().item()
    )


def _main_directions(centred: Tensor) -> Tensor:
    """The three principal directions (C, 3), each with its largest entry positive."""
    _, vectors = torch.linalg.eigh(centred.T @ centred)  # ascending
    directions = vectors[:, -3:].flip(1)
    missing = 3 - directions.shape[1]
    directions = torch.nn.functional.pad(directions, (0, missing))
    largest = directions.gather(0, directions.abs().argmax(dim=0, keepdim=True))
    return directions * torch.where(largest < 0, -1.0, 1.0)
