"""A row of a benchmark table: its measurement, its target, and whether that is met."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

__all__ = ["Row", "RowFunction", "Settings", "Spread", "Target", "middle"]

Spread = dict[str, float]  # from `paired_ratios`: median, lowest and highest


@dataclass(frozen=True)
class Settings:
    """How rows are measured.

    Attributes:
        num_rounds: Timed rounds, each of everything that is compared.
        num_warmups: Warm-up rounds before them.
        tiny: Whether models and inputs have test sizes: their times mean nothing.
    """

    num_rounds: int = 7
    num_warmups: int = 2
    tiny: bool = False


@dataclass(frozen=True)
class Target:
    """The bounds on a figure.

    Attributes:
        figure: Its name in `Row.figures`.
        at_least: Lower bound; None for none.
        at_most: Upper bound; None for none.
    """

    figure: str
    at_least: float | None = None
    at_most: float | None = None

    def is_met(self, figures: Mapping[str, float | Spread]) -> bool:
        """Whether the figure, or its median, is within the bounds."""
        value = middle(figures[self.figure])
        above = self.at_least is None or value >= self.at_least
        return above and (self.at_most is None or value <= self.at_most)


@dataclass(frozen=True)
class Row:
    """One workload, measured.

    Attributes:
        name: A short, unique name.
        workload: Name in tables.
        figures: The figures to show, by name; ratios have median, lowest and highest over the
            rounds.
        target: The bounds on one of them; None without a target.
        details: Everything else that describes the measurement, ready for JSON.
    """

    name: str
    workload: str
    figures: Mapping[str, float | Spread]
    target: Target | None = None
    details: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_met(self) -> bool | None:
        """Whether the target is met; None without one."""
        return None if self.target is None else self.target.is_met(self.figures)

    def to_dict(self) -> dict[str, Any]:
        """Return all fields, ready for JSON."""
        return asdict(self) | {"is_met": self.is_met}

    def headline(self) -> str:
        """The row as one line for the terminal."""
        said = ", ".join(f"{name} {_shown(value)}" for name, value in self.figures.items())
        if self.target is None:
            return f"{self.workload}: {said}"
        return f"{self.workload}: {said} ({'met' if self.is_met else 'NOT met'})"


RowFunction = Callable[[Settings], Iterator[Row]]


def middle(value: float | Spread) -> float:
    """Return a figure, or its median."""
    return value["median"] if isinstance(value, dict) else value


def _shown(value: float | Spread) -> str:
    if isinstance(value, dict):
        return f"{value['median']:.2f} ({value['lowest']:.2f} to {value['highest']:.2f})"
    return f"{value:.2f}" if isinstance(value, float) else str(value)
