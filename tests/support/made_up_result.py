"""A result with figures made up, to draw and print."""

from vidtldr.baselines.schedules import PAPER, Layers
from vidtldr.bench.merging_methods import DEFAULT, VID_TLDR
from vidtldr.bench.outcomes import Difference
from vidtldr.bench.quality import FIGURES
from vidtldr.bench.quality_options import QualityOptions
from vidtldr.bench.quality_result import QualityResult, Row, spread

LONGEST = "representation shift"


def made_up_row(method: str, layers: Layers | None, budget: float, ratio: float, r1: float) -> Row:
    measures = {name: spread([r1 - 1, r1, r1 + 1]) for name in FIGURES}
    measures["cosine"] = spread([0.98, 0.99, 0.985])
    timing = {
        "clips_per_second": 25 / ratio,
        "unmerged_clips_per_second": 25.0,
        "speedup": 1 / ratio,
        "lowest_speedup": 0.9 / ratio,
        "highest_speedup": 1.1 / ratio,
    }
    change = {name: Difference(r1 - 90.0, 0.4) for name in FIGURES}
    best = {0.8: 100.0, 0.6: 89.5}.get(budget)
    behind = None if best is None else {name: Difference(r1 - best, 0.3) for name in FIGURES}
    return Row(
        method,
        layers,
        budget,
        setting={"kind": method},
        flop_ratio=ratio,
        measures=measures,
        change=change,
        behind_best=behind,
        timing=timing,
    )


def made_up_result() -> QualityResult:
    rows = [
        made_up_row(DEFAULT, None, 0.8, 0.8, 89.8),
        made_up_row(DEFAULT, None, 0.6, 0.6, 89.5),
        made_up_row(PAPER, None, 0.8, 0.798, 87.0),
        made_up_row(PAPER, None, 0.6, 0.598, 84.0),
        made_up_row(VID_TLDR, (0, 1, 2), 0.8, 0.799, 88.0),
        made_up_row(VID_TLDR, (0, 1, 2), 0.6, 0.599, 85.0),
        made_up_row("random dropping", (2, 3, 4), 0.8, 0.8, 100.0),
        Row("random dropping", (2, 3, 4), 0.6, unreachable="flop_ratio must be at least 0.7"),
        made_up_row("fewer frames", None, 0.8, 0.69, 80.0),
        made_up_row("fewer frames", None, 0.6, 0.55, 70.0),
        made_up_row(LONGEST, (0, 1, 2), 0.8, 0.8, 87.0),
        made_up_row(LONGEST, (0, 1, 2), 0.6, 0.6, 9.5),
    ]
    unmerged = made_up_row("unmerged", None, 1.0, 1.0, 90.0)
    return QualityResult(unmerged, tuple(rows), 4.1, 512, 5000.0, QualityOptions(250, (0, 1, 2)))
