"""Settings that no other one beats, and the one that serves a target best."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from vidtldr.tune.target import Figures, Target

__all__ = ["best_for", "frontier", "nearest_to"]

_T = TypeVar("_T")
FiguresT = TypeVar("FiguresT", bound=Figures)


def frontier(items: Sequence[_T], figures: Callable[[_T], tuple[float, float]]) -> list[_T]:
    """Items that no other one beats in one figure without being worse in the other.

    Of items with equal figures the first stays.

    Args:
        items: Any.
        figures: Two numbers of an item, less is better.

    Returns:
        Those that stay, by the first figure.
    """
    best: list[_T] = []
    for item in sorted(items, key=figures):
        if not best or figures(item)[1] < figures(best[-1])[1]:
            best.append(item)
    return best


def best_for(target: Target, rows: Sequence[FiguresT]) -> FiguresT | None:
    """The best row of those that reach the target; None if none does."""
    return max((row for row in rows if target.is_met(row)), key=target.merit, default=None)


def nearest_to(target: Target, rows: Sequence[FiguresT]) -> FiguresT:
    """The row that comes nearest to a target that none reaches."""
    return max(rows, key=target.nearness)
