"""The Pareto frontier of settings, and the best setting for a target."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from vidtldr.tune.target import Figures, Target

__all__ = ["best_for", "frontier", "nearest_to"]

_T = TypeVar("_T")
FiguresT = TypeVar("FiguresT", bound=Figures)


def frontier(items: Sequence[_T], figures: Callable[[_T], tuple[float, float]]) -> list[_T]:
    """The Pareto frontier: items that no other item dominates.

    Of items with equal figures the first is kept.

    Args:
        items: Items of any type.
        figures: Returns two figures of an item; lower is better.

    Returns:
        The items on the frontier, sorted by the first figure.
    """
    best: list[_T] = []
    for item in sorted(items, key=figures):
        if not best or figures(item)[1] < figures(best[-1])[1]:
            best.append(item)
    return best


def best_for(target: Target, rows: Sequence[FiguresT]) -> FiguresT | None:
    """Return the best row that reaches the target; None if none does."""
    return max((row for row in rows if target.is_met(row)), key=target.merit, default=None)


def nearest_to(target: Target, rows: Sequence[FiguresT]) -> FiguresT:
    """Return the row nearest to a target that no row reaches."""
    return max(rows, key=target.nearness)
