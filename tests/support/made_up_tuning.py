"""A result of a search with the longest names there are."""

from dataclasses import replace

from vidtldr.baselines.baseline import Merging, RandomDropping
from vidtldr.config import MergeConfig
from vidtldr.measure.timing import Timing
from vidtldr.model_kind import ModelKind
from vidtldr.tune.result import DROPPING, PAPER, TOME, TUNED, Point, TimedPoint, TuneResult
from vidtldr.tune.target import Target
from vidtldr.tune.trials import Outcome
from vidtldr.tune.ways import Way

LONG = replace(
    Way.of(
        (0, 2, 4, 6, 8, 10),
        score="representation-shift",
        metric="keys",
        weighting="saliency",
        pooling="mass",
    ),
    shares="6:2:1",
)
FIRST = (0, 1, 2)


def made_up_tuning() -> TuneResult:
    """Three tuned settings, one of them beaten, and the markers."""
    many = Merging(MergeConfig(r=(210, 0, 150, 0, 110, 0, 90, 0, 60, 0, 40)))
    few = Merging(MergeConfig(r=(600, 200, 100)))
    figures = [
        (TUNED, LONG.name, LONG.layers, many, 0.6, 0.011, 0.875),
        (TUNED, LONG.name, LONG.layers, many, 0.45, 0.02, 0.75),
        (TUNED, "received", FIRST, few, 0.61, 0.013, 0.875),
        (PAPER, PAPER, FIRST, few, 0.6, 0.03, 0.5),
        (TOME, TOME, FIRST, few, 0.6, 0.025, 0.75),
        (DROPPING, DROPPING, FIRST, RandomDropping((500, 300)), 0.59, 0.1, 0.25),
    ]
    points = [
        Point(
            *setting,
            outcome=Outcome(0.9 * drift, 1.8 * drift, kept, 8, 0.1 * drift),
            held_out=Outcome(drift, 2 * drift, kept, 7, 0.2 * drift),
        )
        for *setting, drift, kept in figures
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
        num_search_clips=8,
        num_held_out_clips=7,
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
