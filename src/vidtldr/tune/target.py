"""The target of a tuned schedule. No torch here: the command line uses it for validation."""

from dataclasses import dataclass
from math import isfinite
from typing import Literal, Protocol, get_args

__all__ = ["Figures", "Target", "TargetName"]

TargetName = Literal["speedup", "drift", "flop-ratio"]


class Figures(Protocol):
    """The figures known of one setting."""

    @property
    def drift(self) -> float:
        """How far the setting moves the model's answers."""

    @property
    def flop_ratio(self) -> float:
        """FLOPs relative to the unmerged model."""

    @property
    def speedup(self) -> float:
        """How many times faster the setting is than the unmerged model."""


@dataclass(frozen=True)
class Target:
    """A figure to reach; settings that reach it are ranked by another figure.

    Attributes:
        name: `"speedup"`: at least this many times faster, with the least drift. `"drift"`: at most
            this drift, as fast as possible. `"flop-ratio"`: at most this share of the FLOPs, with
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
                f"`target` must be one of {', '.join(get_args(TargetName))}, got {self.name!r}. "
                "Write speedup=1.8."
            )
        if self.name == "speedup":
            fits, rule = isfinite(self.value) and self.value >= 1, "at least 1 (times as fast)"
        else:
            fits, rule = 0 < self.value < 1, "in (0, 1)"
        if not fits:
            raise ValueError(
                f"`target={self.name}` must be {rule}, got {self.value:g}. Write speedup=1.8, "
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
        """Rank settings that reach the target; higher is better."""
        return figures.speedup if self.name == "drift" else -figures.drift

    def nearness(self, figures: Figures) -> float:
        """Rank settings when none reaches the target; higher is nearer."""
        if self.name == "speedup":
            return figures.speedup
        return -(figures.drift if self.name == "drift" else figures.flop_ratio)
