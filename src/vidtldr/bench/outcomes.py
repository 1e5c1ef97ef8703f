"""Right or wrong, clip by clip, and the difference between two sides that saw the same clips.

A side's outcomes are a string. Clips are separated by a space; each has a `1` for every query that
was right and a `0` for every one that was wrong: in `"1 01  11"` the third of four clips was asked
nothing.

Letters: `B` clips.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import torch
from torch import Tensor

__all__ = ["Difference", "Outcomes", "paired_difference", "write_outcomes"]

NOISE = 2.0  # standard errors
UNKNOWN = 100.0  # points: the standard error of a difference on one clip alone


@dataclass(frozen=True)
class Difference:
    """The difference between two sides on the same clips.

    Attributes:
        mean: Points; negative where the side is worse than the other.
        standard_error: Of the mean, points.
    """

    mean: float
    standard_error: float

    @property
    def is_beyond_noise(self) -> bool:
        """Whether the mean is more than two standard errors from zero."""
        return abs(self.mean) > NOISE * self.standard_error

    def __neg__(self) -> Self:
        return type(self)(-self.mean, self.standard_error)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Invert `asdict`."""
        return cls(values["mean"], values["standard_error"])


@dataclass(frozen=True)
class Outcomes:
    """A side's outcomes on all clips of all seeds.

    Attributes:
        num_right: Right answers about each clip, shape (B,), float64.
        num_asked: Queries about each clip, shape (B,), float64.
    """

    num_right: Tensor
    num_asked: Tensor

    @classmethod
    def read(cls, texts: Iterable[Sequence[str]]) -> Self:
        """Read what `write_outcomes` wrote.

        Args:
            texts: For each seed, the strings to count together, each of the same clips.
        """
        clips = [
            "".join(parts)
            for together in texts
            for parts in zip(*(text.split(" ") for text in together), strict=True)
        ]
        right = torch.tensor([clip.count("1") for clip in clips], dtype=torch.float64)
        return cls(right, torch.tensor([len(clip) for clip in clips], dtype=torch.float64))

    @cached_property
    def percent(self) -> float:
        """Queries that were right, in percent; NaN if there are none."""
        return float(100 * self.num_right.sum() / self.num_asked.sum())


def write_outcomes(hits: Iterable[Iterable[bool]]) -> str:
    """Write for each clip whether each of its queries was right."""
    return " ".join("".join("01"[hit] for hit in clip) for clip in hits)


def paired_difference(own: Outcomes, other: Outcomes) -> Difference:
    """Compare two sides, query by query, over all clips.

    The unit is the clip: queries about one clip stand and fall together. Where every clip has
    equally many queries, the standard error is the sample standard deviation of the clips'
    differences over the square root of their number; where not, that of a ratio of sums.

    Args:
        own: Outcomes of a side.
        other: Those of the other, on the same clips with the same queries.

    Raises:
        ValueError: If the numbers of queries differ.
    """
    if not torch.equal(own.num_asked, other.num_asked):
        raise ValueError(
            "outcomes must be of the same clips and queries, got other numbers of queries. "
            "Measure both sides anew."
        )
    was_asked = own.num_asked > 0
    asked = own.num_asked[was_asked]
    changes = (own.num_right - other.num_right)[was_asked]
    count, total = len(asked), float(asked.sum())
    if count < 2:
        return Difference(100 * float(changes.sum()) / max(total, 1.0), UNKNOWN)
    mean = float(changes.sum()) / total
    left = float((changes - mean * asked).square().sum())
    return Difference(100 * mean, 100 * math.sqrt(left * count / (count - 1)) / total)
