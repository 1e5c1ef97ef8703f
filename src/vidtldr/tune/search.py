"""Search score, metric, weighting, layers and amount of merging for one model and its videos.

The choices are few and discrete (a handful each of methods, variants and budgets, a dozen sets of
layers), a trial takes about a second per clip, and a few dozen trials must be enough. So this is
successive halving, without a library: every method is first tried in every set of layers on a few
clips, and only the leaders advance to more clips, to variants one at a time and to other budgets.
With as many forwards, Optuna's two-objective samplers find a worse frontier. Its single-objective
samplers, which spend everything on one budget, find less drift there but no frontier
(`benchmarks/10_tune_search.py`). Halving is easy to follow and deterministic, so a stopped search
resumes exactly where it was.

Speed is measured, not assumed: leaders are compared by the layer times of this device, and the
finalists are timed in turn with the unmerged model.

The lowest of many drifts is partly luck with the clips. So everything is chosen on some clips, and
what is reported is measured on others, which the search does not see.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from math import ceil
from statistics import fmean

from vidtldr.baselines.dropping import can_drop
from vidtldr.baselines.schedules import front_loaded, merging, placement, random_dropping
from vidtldr.config import MergeConfig, Pooling
from vidtldr.tune.board import Board
from vidtldr.tune.budgets import CLEARLY_FASTER, approach, try_budgets
from vidtldr.tune.clips import TunedClip
from vidtldr.tune.confirm import Found, confirm, validate_held_out
from vidtldr.tune.finalists import time_finalists
from vidtldr.tune.result import DROPPING, PAPER, TOME, Point, TuneResult
from vidtldr.tune.target import Target
from vidtldr.tune.trials import Setting, Trials
from vidtldr.tune.ways import Way, default_way, first_ways, is_plain, lowest_flop_ratio, variants

__all__ = ["search"]

MARKED_BUDGETS = (0.45,)  # FLOP ratios of the baselines, beside the one that ways are compared at
NUM_CONTENDERS, NUM_LEADERS = 3, 2


def search(
    trials: Trials, held_out: Sequence[TunedClip], target: Target, num_rounds: int
) -> TuneResult:
    """Find the best setting for a target, then measure it on held-out clips.

    Args:
        trials: The model, the search clips and their stored results.
        held_out: Other clips, at least one. None of them is run before everything is chosen.
        target: The target to reach.
        num_rounds: Timed rounds, at least 1.

    Raises:
        ValueError: If no set of layers can save enough, or `held_out` is empty or shares a clip
            with the search.
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
        board.predicted(way, start)  # times its layers, so that `guesses` includes it
    _try_markers(board, start)
    try_budgets(board, ways, start)
    approach(board, ways, target)
    unmerged, rows = time_finalists(board, ways, default, target, num_rounds)
    default_settings = frozenset(point.setting for point in board.of_way(default))
    found = Found(unmerged, scores, board.points, rows, default_settings)
    return confirm(found, trials, held_out, target)


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
    few, some = _num_first_round(num_all), _num_second_round(num_all)
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


def _num_first_round(num_clips: int) -> int:
    """Return the number of clips for the first round: a quarter, but at least two."""
    return min(num_clips, max(2, ceil(num_clips / 4)))


def _num_second_round(num_clips: int) -> int:
    """Return the number of clips for the second round: half, but more than in the first."""
    return min(num_clips, max(_num_first_round(num_clips) + 1, ceil(num_clips / 2)))


def _best_pooling(board: Board, ways: Sequence[Way], start: float, few: int) -> Pooling:
    """Choose the pooling by the mean drift of all methods in the first set of layers.

    It is chosen first, because where it matters it matters more than the layers.
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
    contenders = [*by_drift[:NUM_CONTENDERS], *plain]  # plain merging takes the least time
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
            except ValueError:  # arguments were checked before: the budget is too low
                continue
            board.add_setting(name, name, first, setting)
