"""Time the most promising settings in turn with the unmerged model."""

from collections.abc import Sequence
from math import log

from vidtldr.measure.timing import Timing
from vidtldr.tune.board import Board, Guess
from vidtldr.tune.budgets import CLEARLY_FASTER, add_for_speedup
from vidtldr.tune.frontier import best_for, frontier, nearest_to
from vidtldr.tune.result import MARKERS, Point, TimedPoint
from vidtldr.tune.target import Target
from vidtldr.tune.timing import time_points
from vidtldr.tune.ways import Way

__all__ = ["time_finalists"]

NUM_FINALISTS = 6
NUM_CORRECTIONS = 2  # rounds of timing to correct a predicted speed-up
LITTLE_FASTER = 1.05


def time_finalists(
    board: Board, ways: Sequence[Way], default: Way, target: Target, num_rounds: int
) -> tuple[Timing, list[TimedPoint]]:
    """Time the unmerged model, the finalists, the default, and one point of each baseline.

    Args:
        board: What the search has tried.
        ways: The ways that are tried at several budgets.
        default: The way of the default.
        target: The target to reach.
        num_rounds: Timed rounds, at least 1.

    Returns:
        Times of the unmerged model, and the timed points in no order.
    """
    guesses = board.guesses()
    best = best_for(target, guesses) or nearest_to(target, guesses)
    markers: list[Point] = []
    for kind in MARKERS:
        near = sorted(board.of_kind(kind), key=lambda p: abs(p.flop_ratio - best.flop_ratio))
        markers += near[:1]
    known = {marker.setting for marker in markers}
    defaults = [guess for guess in guesses if guess.point in board.of_way(default)]
    finalists = [p for p in _finalists(guesses, defaults, best, target) if p.setting not in known]
    unmerged, rows = time_points(board.trials, [*finalists, *markers], num_rounds)
    for _ in range(NUM_CORRECTIONS if target.name == "speedup" else 0):
        point = _correction(board, ways, rows, target)
        if point is None or any(point.setting == row.setting for row in rows):
            break
        rows += time_points(board.trials, [point], num_rounds)[1]
    return unmerged, rows


def _correction(
    board: Board, ways: Sequence[Way], rows: Sequence[TimedPoint], target: Target
) -> Point | None:
    """Return a point that merges more or less, where the measured speed differs from the predicted.

    None once the best is only a little faster than the target: more speed would only add drift.
    """
    way_of = {point.setting: way for way in ways for point in board.of_way(way)}
    own = [row for row in rows if row.setting in way_of]
    best = best_for(target, own)
    if not own or (best is not None and best.speedup <= LITTLE_FASTER * target.value):
        return None
    if best is not None:
        own = [row for row in own if way_of[row.setting] == way_of[best.setting]]
    nearest = min(own, key=lambda row: abs(log(row.speedup / target.value)))
    way = way_of[nearest.setting]
    needed = board.predicted(way, nearest.flop_ratio) * target.value / nearest.speedup
    return add_for_speedup(board, way, CLEARLY_FASTER * needed)


def _finalists(
    guesses: Sequence[Guess], defaults: Sequence[Guess], best: Guess, target: Target
) -> list[Point]:
    """Return the best guess, the default's best, and the predicted frontier near the target."""

    def distance(guess: Guess) -> float:
        if target.name == "speedup":
            return abs(log(guess.speedup / target.value))
        if target.name == "drift":
            return abs(log(max(guess.drift, 1e-9) / target.value))
        return abs(guess.flop_ratio - target.value)

    ahead = frontier(guesses, lambda guess: (-guess.speedup, guess.drift))
    own = best_for(target, defaults)
    near = [best, *([] if own is None else [own]), *sorted(ahead, key=distance)]
    points = dict.fromkeys(guess.point for guess in near)
    return list(points)[:NUM_FINALISTS]
