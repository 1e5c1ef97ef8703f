"""How much a way should merge: a few budgets, then amounts nearer to the target."""

from collections.abc import Sequence
from math import ceil

from vidtldr.tune.board import Board
from vidtldr.tune.frontier import best_for
from vidtldr.tune.result import Point
from vidtldr.tune.target import Target
from vidtldr.tune.ways import Way, lowest_flop_ratio

__all__ = ["CLEARLY_FASTER", "add_for_speedup", "approach", "try_budgets"]

BUDGETS = (0.8, 0.6, 0.45)  # FLOP ratios
NUM_BISECTIONS = 3
CLEARLY_FASTER = 1.02


def try_budgets(board: Board, ways: Sequence[Way], start: float) -> None:
    """Try every way at a few budgets, and at the one at which ways were compared."""
    budgets = sorted({*BUDGETS, start}, reverse=True)
    num_clips = len(board.trials.clips)
    board.trials.begin("5 of 7: how much", num_clips * (len(ways) * len(budgets) + NUM_BISECTIONS))
    for way in ways:
        for ratio in budgets:
            if board.fits(way, ratio):
                board.add(way, ratio)


def approach(board: Board, ways: Sequence[Way], target: Target) -> None:
    """Try amounts of merging between the budgets, around the target."""
    if target.name == "speedup":
        for way in ways:
            add_for_speedup(board, way, CLEARLY_FASTER * target.value)
    elif target.name == "drift":
        for _ in range(NUM_BISECTIONS):
            _halve_gap(board, _fastest_within(board, ways, target), target)


def _fastest_within(board: Board, ways: Sequence[Way], target: Target) -> Way:
    best = best_for(target, board.guesses())
    own = [way for way in ways if best is not None and best.point in board.of_way(way)]
    return (own or list(ways))[0]


def _halve_gap(board: Board, way: Way, target: Target) -> None:
    """Bisect between the last amount that keeps the drift and the next one."""
    points = board.of_way(way)
    good = min((p.flop_ratio for p in points if p.drift <= target.value), default=1.0)
    lowest = lowest_flop_ratio(board.model, way)
    bad = max((p.flop_ratio for p in points if p.flop_ratio < good), default=lowest)
    ratio = round((good + bad) / 2, 4)
    if board.fits(way, ratio):
        board.add(way, ratio)


def add_for_speedup(board: Board, way: Way, speedup: float) -> Point:
    """Add the least amount predicted to be fast enough, or the most the layers allow."""
    low, high = lowest_flop_ratio(board.model, way), 1.0
    if board.predicted(way, low) >= speedup:
        for _ in range(8):
            middle = (low + high) / 2
            if board.predicted(way, middle) >= speedup:
                low = middle
            else:
                high = middle
    return board.add(way, ceil(1e4 * low) / 1e4)
