"""Choose among the points of a search, then measure all of them on held-out clips."""

from collections.abc import Sequence, Set
from dataclasses import dataclass, replace
from math import hypot
from typing import TypeVar

from vidtldr.hosts.registry import find_host
from vidtldr.measure.timing import Timing
from vidtldr.tune.clips import TunedClip
from vidtldr.tune.frontier import best_for, nearest_to
from vidtldr.tune.result import Point, TimedPoint, TuneResult
from vidtldr.tune.target import Target
from vidtldr.tune.trials import Outcome, Setting, Trials

__all__ = ["Found", "confirm", "validate_held_out"]

PointT = TypeVar("PointT", bound=Point)


@dataclass(frozen=True)
class Found:
    """What a search found on its own clips; attributes as in `TuneResult`, in no order.

    Attributes:
        default_settings: The settings of the default, at any budget.
    """

    unmerged: Timing
    scores: Sequence[Point]
    points: Sequence[Point]
    rows: Sequence[TimedPoint]
    default_settings: Set[Setting] = frozenset()


def confirm(
    found: Found, trials: Trials, held_out: Sequence[TunedClip], target: Target
) -> TuneResult:
    """Choose for a target by the search clips, then run every point on the held-out clips.

    Args:
        found: What the search found.
        trials: The trials of the search.
        held_out: At least one clip that the search did not see.
        target: The target to reach.
    """
    rows = sorted(found.rows, key=lambda row: -row.speedup)
    mergings = [row for row in rows if row.config is not None]
    defaults = [row for row in mergings if row.setting in found.default_settings]
    chosen = _prefer_default(best_for(target, mergings), best_for(target, defaults), target)
    nearest = nearest_to(target, mergings)
    others = trials.with_clips(held_out)
    outcomes = _run(others, [*found.points, *rows])
    measured = _with_outcomes(rows, outcomes)
    return TuneResult(
        target=target,
        num_search_clips=len(trials.clips),
        num_held_out_clips=len(held_out),
        unmerged=found.unmerged,
        scores=_with_outcomes(sorted(found.scores, key=lambda point: point.drift), outcomes),
        points=_with_outcomes(found.points, outcomes),
        rows=measured,
        chosen=None if chosen is None else measured[rows.index(chosen)],
        nearest=measured[rows.index(nearest)],
        num_forwards=trials.num_forwards + others.num_forwards,
        kind=find_host(trials.subject.model).kind,
        drift_by=trials.subject.describes["metric"],
    )


def _prefer_default(
    best: TimedPoint | None, default: TimedPoint | None, target: Target
) -> TimedPoint | None:
    """Return the default's row unless the best drifts less by more than their combined error.

    The best of many settings on a few clips is partly luck. For other targets than equal FLOPs the
    best is returned, because the two may differ in how much they merge.
    """
    if best is None or default is None or target.name != "flop-ratio":
        return best
    errors = [row.outcome.standard_error or 0.0 for row in (best, default)]
    return best if best.drift + hypot(*errors) < default.drift else default


def validate_held_out(searched: Sequence[TunedClip], held_out: Sequence[TunedClip]) -> None:
    """Check that there are held-out clips, and that the search sees none of them.

    Raises:
        ValueError: If there are none, or one has the same content as a search clip.
    """
    known = {clip.sha256 for clip in searched}
    seen = [clip.path for clip in held_out if clip.sha256 in known]
    if seen or not held_out:
        got = f"{seen[0]!r} in both" if seen else "none"
        raise ValueError(
            f"`held_out` must hold clips that are not searched on, got {got}. Use split_clips."
        )


def _run(trials: Trials, points: Sequence[Point]) -> dict[Setting, Outcome]:
    """Run every setting once on all clips."""
    settings = dict.fromkeys(point.setting for point in points)
    trials.begin("7 of 7: on the clips held out", len(settings) * len(trials.clips))
    return {setting: trials.run(setting, len(trials.clips)) for setting in settings}


def _with_outcomes(
    points: Sequence[PointT], outcomes: dict[Setting, Outcome]
) -> tuple[PointT, ...]:
    return tuple(replace(point, held_out=outcomes[point.setting]) for point in points)
