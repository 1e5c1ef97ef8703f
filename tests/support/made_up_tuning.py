"""A result of a search with the longest names there are."""

from vidtldr.baselines.baseline import Merging, RandomDropping
from vidtldr.config import MergeConfig
from vidtldr.measure.timing import Timing
from vidtldr.model_kind import ModelKind
from vidtldr.tune.result import DROPPING, PAPER, TOME, TUNED, Point, TimedPoint, TuneResult
from vidtldr.tune.target import Target
from vidtldr.tune.trials import Outcome
from vidtldr.tune.ways import Way

LONG = Way("representation-shift", "keys", (0, 2, 4, 6, 8, 10), "saliency", "mass", "6:2:1")
FIRST = (0, 1, 2)


def made_up_tuning() -> TuneResult:
    """Three tuned settings, one of them beaten, and the markers."""
    many = Merging(MergeConfig(r=(210, 0, 150, 0, 110, 0, 90, 0, 60, 0, 40)))
    few = Merging(MergeConfig(r=(600, 200, 100)))
    points = [
        Point(TUNED, LONG.name, LONG.layers, many, 0.6, Outcome(0.011, 0.02, 0.875)),
        Point(TUNED, LONG.name, LONG.layers, many, 0.45, Outcome(0.02, 0.05, 0.75)),
        Point(TUNED, "received", FIRST, few, 0.61, Outcome(0.013, 0.03, 0.875)),
        Point(PAPER, PAPER, FIRST, few, 0.6, Outcome(0.03, 0.06, 0.5)),
        Point(TOME, TOME, FIRST, few, 0.6, Outcome(0.025, 0.04, 0.75)),
        Point(DROPPING, DROPPING, FIRST, RandomDropping((500, 300)), 0.59, Outcome(0.1, 0.2, 0.25)),
    ]
    speeds = (1.62, 2.0, 1.5, 1.55, 1.71, 1.8)
    rows = [
        TimedPoint(
            **vars(point),
            timing=Timing((1900 / speed, 1950 / speed)),
            speedups={"median": speed, "lowest": speed - 0.04, "highest": speed + 0.09},
            timed_on="2026-01-01",
        )
        for point, speed in zip(points, speeds, strict=True)
    ]
    return TuneResult(
        target=Target("drift", 0.015),
        num_clips=8,
        unmerged=Timing((1900.0, 1950.0)),
        scores=(points[0], points[2]),
        points=tuple(points),
        rows=tuple(sorted(rows, key=lambda row: -row.speedup)),
        chosen=rows[0],
        nearest=rows[0],
        num_forwards=300,
        kind=ModelKind("UMT (vidtldr)", 12, None),
        drift_by="labels",
    )
