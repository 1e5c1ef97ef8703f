"""What a tuned schedule is to reach. No torch here: the command line checks with it, too."""

from dataclasses import dataclass
from math import isfinite
from typing import Literal, Protocol, get_args

__all__ = ["Figures", "Target", "TargetName"]

TargetName = Literal["speedup", "drift", "flop-ratio"]


class Figures(Protocol):
    """What is known of one setting."""

    @property
    def drift(self) -> float:
        """How far it moves the model's answers."""

    @property
    def flop_ratio(self) -> float:
        """Its FLOPs over those of the unmerged model."""

    @property
    def speedup(self) -> float:
        """How many times faster it is."""


@dataclass(frozen=True)
class Target:
    """One figure that must be reached; of the settings that reach it the best other one counts.

    Attributes:
        name: `"speedup"`: at least so many times faster, with the least drift. `"drift"`: at most
            so much drift, as fast as can be. `"flop-ratio"`: at most this share of the FLOPs, with
            the least drift.
        value: A speed-up of at least 1, a drift in (0, 1), or a share in (0, 1).

    Raises:
        ValueError: If the name is unknown or the value out of range.
    """

    name: TargetName
    value: float

    def __post_init__(self) -> None:
        if self.name not in get_args(TargetName):
            raise ValueError(
                f"target must be one of {', '.join(get_args(TargetName))}, got {self.name!r}. "
                "Write speedup=1.8."
            )
        if self.name == "speedup":
            fits, rule = isfinite(self.value) and self.value >= 1, "at least 1 (times as fast)"
        else:
            fits, rule = 0 < self.value < 1, "in (0, 1)"
        if not fits:
            raise ValueError(
                f"target {self.name} must be {rule}, got {self.value:g}. Write speedup=1.8, "
                "drift=0.02 or flop-ratio=0.6."
            )

    def __str__(self) -> str:
        return f"{self.name}={self.value:g}"

    def is_met(self, figures: Figures) -> bool:
        """Whether a setting reaches it."""
        if self.name == "speedup":
            return figures.speedup >= self.value
        return (figures.drift if self.name == "drift" else figures.flop_ratio) <= self.value

    def merit(self, figures: Figures) -> float:
        """What decides between settings that reach it; more is better."""
        return figures.speedup if self.name == "drift" else -figures.drift

    def nearness(self, figures: Figures) -> float:
        """What decides which setting comes nearest where none reaches it; more is nearer."""
        if self.name == "speedup":
            return figures.speedup
        return -(figures.drift if self.name == "drift" else figures.flop_ratio)
