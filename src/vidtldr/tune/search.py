"""Search score, metric, weighting, layers and amount of merging for one model and its videos.

The choices are few and discrete (seven methods, eleven sets of layers, a handful of variants and
budgets), a trial costs about a second per clip, and a few dozen trials must do. So this is
successive halving, without a library: every method is first tried in every set of layers on a few
clips, and only the leaders advance to more clips, to variants one at a time and to other budgets.
With as many forwards, Optuna's two-objective samplers find a worse frontier. Its single-objective
samplers, which spend everything on one budget, find less drift there but no frontier
(`benchmarks/10_tune_search.py`). Halving is easy to follow and deterministic, so a stopped search
resumes exactly where it was.

Speed is measured, not assumed: leaders are compared by the layer times of this device, and the
finalists are timed in turn with the unmerged model.

The least of many drifts is partly luck with the clips, so everything is chosen on some clips, and
what is reported is measured on others, which the search is not given.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from math import ceil, log
from statistics import fmean

from vidtldr.baselines.dropping import can_drop
from vidtldr.baselines.schedules import front_loaded, merging, placement, random_dropping
from vidtldr.config import MergeConfig, Pooling
from vidtldr.measure.timing import Timing
from vidtldr.tune.board import Board, Guess
from vidtldr.tune.clips import TunedClip
from vidtldr.tune.confirm import Found, confirmed, validate_held_out
from vidtldr.tune.frontier import best_for, frontier, nearest_to
from vidtldr.tune.result import DROPPING, MARKERS, PAPER, TOME, Point, TimedPoint, TuneResult
from vidtldr.tune.target import Target
from vidtldr.tune.timing import time_points
from vidtldr.tune.trials import Setting, Trials
from vidtldr.tune.ways import Way, default_way, first_ways, is_plain, lowest_flop_ratio, variants

__all__ = ["search"]

BUDGETS = (0.8, 0.6, 0.45)  # FLOP ratios
MARKED_BUDGETS = (0.45,)
NUM_CONTENDERS, NUM_LEADERS, NUM_FINALISTS = 3, 2, 6
NUM_BISECTIONS = 3
NUM_CORRECTIONS = 2  # where the measured speed-up differs from the prediction
CLEARLY_FASTER, LITTLE_FASTER = 1.02, 1.05


def search(
    trials: Trials, held_out: Sequence[TunedClip], target: Target, num_rounds: int
) -> TuneResult:
    """Find the best setting for a target, then measure it on other clips.

    Args:
        trials: The model, the clips to search on and their stored results.
        held_out: Other clips, at least one: everything is chosen before any of them is run.
        target: The target to reach.
        num_rounds: Timed rounds, at least 1.

    Raises:
        ValueError: If no set of layers can save enough, or `held_out` has no clip or one of those
            of the search.
        NotImplementedError: If the model cannot merge.
    """
    validate_held_out(trials.clips, held_out)
    board = Board(trials)
    start = _start(board, target)
    winners = _race(board, start)
    scores = [board.add(way, start) for way in winners]
    ways: list[Way] = []
    leaders = _leaders(board, dict(zip(winners, scores, strict=True)), start)
    for number, leader in enumerate(leaders, start=1):
        ways.append(_best_variant(board, leader, start, taken=[*ways, *leaders[number:]]))
    default = default_way(len(board.host.blocks), leaders[0].method.pooling)
    if default not in ways and board.fits(default, start):
        ways.append(default)
        board.add(default, start)
    for way in ways:
        board.predicted(way, start)  # a variant may have another metric: now it is a guess
    _try_markers(board, start)
    _try_budgets(board, ways, start)
    _approach(board, ways, target)
    unmerged, rows = _timed(board, ways, default, target, num_rounds)
    of_default = frozenset(point.setting for point in board.of_way(default))
    found = Found(unmerged, scores, board.points, rows, of_default)
    return confirmed(found, trials, held_out, target)


def _start(board: Board, target: Target) -> float:
    """Return the FLOP ratio at which ways are compared: about what the target needs."""
    lowest: dict[MergeConfig, float] = {}
    for way in first_ways(len(board.host.blocks)):
        reached = lowest_flop_ratio(board.model, way)
        lowest[way.method] = min(reached, lowest.get(way.method, 1.0))
    if target.name == "flop-ratio":
        if target.value < min(lowest.values()):
            raise ValueError(
                f"`target=flop-ratio` must be at least {min(lowest.values())} for this model (a "
                f"layer merges at most half of its tokens), got {target.value:g}. Raise it."
            )
        return target.value
    wanted = 0.6
    if target.name == "speedup":
        wanted = min(0.8, max(0.3, round(1 / target.value, 2)))
    return max(wanted, *lowest.values())  # so that every score can be compared


def _race(board: Board, start: float) -> list[Way]:
    """Return the best set of layers for each score and metric."""
    num_all, num_layers = len(board.trials.clips), len(board.host.blocks)
    few, some = _few(num_all), _some(num_all)
    first = [way for way in first_ways(num_layers) if board.fits(way, start)]
    pooling = _best_pooling(board, first, start, few)
    ways = [way.varied(pooling=pooling) for way in first]
    methods = [list(each) for _, each in groupby(ways, key=lambda way: way.method)]
    board.trials.begin("1 of 7: where to merge", few * len(ways))
    pairs = [board.best_first(places, start, few)[:2] for places in methods]
    board.trials.begin("1 of 7: where, again", some * sum(map(len, pairs)))
    winners = [board.best_first(pair, start, some)[0] for pair in pairs]
    board.trials.begin("2 of 7: which score", num_all * len(winners))
    return winners


def _few(num_clips: int) -> int:
    """Return on how many clips every way is tried: a quarter, and two where there are two."""
    return min(num_clips, max(2, ceil(num_clips / 4)))


def _some(num_clips: int) -> int:
    """Return on how many clips the better ones are compared: half, and more than a few."""
    return min(num_clips, max(_few(num_clips) + 1, ceil(num_clips / 2)))


def _best_pooling(board: Board, ways: Sequence[Way], start: float, few: int) -> Pooling:
    """Choose the pooling first: where it matters, it matters more than the layers.

    Compared over all methods in the first set of layers.
    """
    if board.host.pooling_method is None:
        return "tokens"
    placed = [way for way in ways if way.layers == ways[0].layers]
    choices: tuple[Pooling, ...] = ("tokens", "mass")
    board.trials.begin("1 of 7: what counts", few * len(placed) * len(choices))
    drift = {
        pooling: fmean(board.drift(way.varied(pooling=pooling), start, few) for way in placed)
        for pooling in choices
    }
    return min(choices, key=drift.__getitem__)


def _leaders(board: Board, scores: Mapping[Way, Point], start: float) -> list[Way]:
    """Return the way of least drift, and that of least drift among the clearly faster."""
    by_drift = sorted(scores, key=lambda way: scores[way].drift)
    plain = [way for way in by_drift[NUM_CONTENDERS:] if is_plain(way.method)]
    contenders = [*by_drift[:NUM_CONTENDERS], *plain]  # no way merges in less time
    board.trials.begin("3 of 7: times of layers", len(contenders))
    predicted = {}
    for way in contenders:
        predicted[way] = board.predicted(way, start)
        board.trials.step()
    best, *others = contenders
    faster = [way for way in others if predicted[way] > CLEARLY_FASTER * predicted[best]]
    return [best, *(faster or others)][:NUM_LEADERS]


def _best_variant(board: Board, way: Way, start: float, taken: Sequence[Way]) -> Way:
    """Change the other choices of a way one at a time, keeping each improvement.

    Never returns a way already taken: the two leaders must differ.
    """
    num_clips = len(board.trials.clips)
    num_choices = len(list(variants(way, board.host)))
    board.trials.begin(f"4 of 7: variants of {way.name}", num_clips * (num_choices + 4))
    for choice in range(num_choices):
        others = list(variants(way, board.host))[choice]
        free = [other for other in others if other not in taken and board.fits(other, start)]
        rivals = [way, *free]
        way = board.best_first(rivals, start, num_clips)[0]
    return way


def _try_markers(board: Board, start: float) -> None:
    """Try the paper's setting, and ToMe and random dropping in its layers, at a few budgets."""
    model = board.model
    first = tuple(layer for layer in placement(0) if layer < len(board.host.blocks))
    made: dict[str, Callable[[float], Setting]] = {
        PAPER: lambda ratio: front_loaded(model, ratio, first, score="sharpness"),
        TOME: lambda ratio: merging(model, ratio, first, score=None, metric="keys"),
        DROPPING: lambda ratio: random_dropping(model, ratio, first),
    }
    if not can_drop(board.host):
        del made[DROPPING]
    budgets = sorted({*MARKED_BUDGETS, start}, reverse=True)
    num_clips = len(board.trials.clips)
    board.trials.begin("5 of 7: paper, ToMe, dropping", num_clips * len(made) * len(budgets))
    for name, make in made.items():
        for ratio in budgets:
            try:
                setting = make(ratio)
            except ValueError:  # all else was checked before: the budget is too low
                continue
            board.add_setting(name, name, first, setting)


def _try_budgets(board: Board, ways: Sequence[Way], start: float) -> None:
    budgets = sorted({*BUDGETS, start}, reverse=True)
    num_clips = len(board.trials.clips)
    board.trials.begin("5 of 7: how much", num_clips * (len(ways) * len(budgets) + NUM_BISECTIONS))
    for way in ways:
        for ratio in budgets:
            if board.fits(way, ratio):
                board.add(way, ratio)


def _approach(board: Board, ways: Sequence[Way], target: Target) -> None:
    """Try amounts of merging between the budgets, around the target."""
    if target.name == "speedup":
        for way in ways:
            _add_for_speedup(board, way, CLEARLY_FASTER * target.value)
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


def _add_for_speedup(board: Board, way: Way, speedup: float) -> Point:
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


def _timed(
    board: Board, ways: Sequence[Way], default: Way, target: Target, num_rounds: int
) -> tuple[Timing, list[TimedPoint]]:
    """Time the unmerged model, the finalists, the default and each marker beside them."""
    guesses = board.guesses()
    best = best_for(target, guesses) or nearest_to(target, guesses)
    markers: list[Point] = []
    for kind in MARKERS:
        near = sorted(board.of_kind(kind), key=lambda p: abs(p.flop_ratio - best.flop_ratio))
        markers += near[:1]
    known = {marker.setting for marker in markers}
    of_default = [guess for guess in guesses if guess.point in board.of_way(default)]
    finalists = [p for p in _finalists(guesses, of_default, best, target) if p.setting not in known]
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
    """Merge more or less with the best way where its time differs from the prediction.

    None once it is only slightly faster than asked: more speed would only add drift.
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
    return _add_for_speedup(board, way, CLEARLY_FASTER * needed)


def _finalists(
    guesses: Sequence[Guess], of_default: Sequence[Guess], best: Guess, target: Target
) -> list[Point]:
    """Return the best guess, that of the default, and the predicted frontier near the target."""

    def distance(guess: Guess) -> float:
        if target.name == "speedup":
            return abs(log(guess.speedup / target.value))
        if target.name == "drift":
            return abs(log(max(guess.drift, 1e-9) / target.value))
        return abs(guess.flop_ratio - target.value)

    ahead = frontier(guesses, lambda guess: (-guess.speedup, guess.drift))
    own = best_for(target, of_default)
    near = [best, *([] if own is None else [own]), *sorted(ahead, key=distance)]
    points = dict.fromkeys(guess.point for guess in near)
    return list(points)[:NUM_FINALISTS]
