"""Right and wrong answers, clip by clip, and the paired difference between two settings.

Outcomes are stored as a string: a `1` for every query that was answered right and a `0` for every
other, with a space between clips. In `"1 01  11"` there were no queries about the third of four
clips.

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
UNKNOWN = 100.0  # points: stands for the standard error where a single clip gives none


@dataclass(frozen=True)
class Difference:
    """The mean paired difference between two settings on the same clips.

    Attributes:
        mean: Percentage points; negative if the first setting is worse.
        standard_error: Standard error of the mean, percentage points.
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
    """The outcomes of one setting on all clips of all seeds.

    Attributes:
        num_right: Number of right answers about each clip, shape (B,), float64.
        num_asked: Number of queries about each clip, shape (B,), float64.
    """

    num_right: Tensor
    num_asked: Tensor

    @classmethod
    def read(cls, texts: Iterable[Sequence[str]]) -> Self:
        """Parse what `write_outcomes` returned.

        Args:
            texts: For each seed, the strings to pool, all about the same clips.
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
        """The percentage of queries answered right; NaN if there are no queries."""
        return float(100 * self.num_right.sum() / self.num_asked.sum())


def write_outcomes(hits: Iterable[Iterable[bool]]) -> str:
    """Write as a string, for each clip, whether each of its queries was answered right."""
    return " ".join("".join("01"[hit] for hit in clip) for clip in hits)


def paired_difference(own: Outcomes, other: Outcomes) -> Difference:
    """Compare two settings over all clips.

    The clip is the unit of sampling, because queries about the same clip are not independent. If
    all clips have equally many queries, the standard error is the sample standard deviation of the
    clips' differences, divided by the square root of their number; otherwise it is that of a ratio
    estimator.

    Args:
        own: Outcomes of the first setting.
        other: Outcomes of the second, on the same clips with the same queries.

    Raises:
        ValueError: If the numbers of queries differ.
    """
    if not torch.equal(own.num_asked, other.num_asked):
        raise ValueError(
            "outcomes must be of the same clips and queries, got different numbers of queries. "
            "Measure both settings again."
        )
    was_asked = own.num_asked > 0  # clips without queries say nothing
    asked = own.num_asked[was_asked]
    changes = (own.num_right - other.num_right)[was_asked]
    count, total = len(asked), float(asked.sum())
    if count < 2:
        return Difference(100 * float(changes.sum()) / max(total, 1.0), UNKNOWN)
    mean = float(changes.sum()) / total
    residual = float((changes - mean * asked).square().sum())
    return Difference(100 * mean, 100 * math.sqrt(residual * count / (count - 1)) / total)
