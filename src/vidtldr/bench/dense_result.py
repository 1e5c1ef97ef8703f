"""The result of the benchmark of dense outputs."""

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from vidtldr.baselines.schedules import Layers

__all__ = [
    "DenseResult",
    "DenseRow",
    "DenseScoreRow",
    "FailedPicture",
    "FigureMean",
    "NotedPicture",
    "mean_figure",
]


@dataclass(frozen=True)
class FigureMean:
    """A figure averaged over pictures.

    Attributes:
        mean: Mean over the pictures that have the figure.
        standard_error: Standard error of the mean; None for one picture.
        values: The figure of each picture; None where a picture does not have it.
    """

    mean: float
    standard_error: float | None
    values: tuple[float | None, ...]


@dataclass(frozen=True)
class DenseRow:
    """A method at a budget and its results; there are no figures if the budget is out of reach.

    Attributes:
        method: Name of the method.
        layers: The layers that may merge, 0-based; None for the unmerged model.
        budget: Upper limit on the FLOPs of the backbone, as a share of the unmerged forward's.
        setting: The method's setting.
        unreachable: Why the budget cannot be met; None if it can.
        flop_ratio: The counted FLOP ratio of the backbone.
        figures: The figures that at least one picture has, by name. `feature_distance`: mean cosine
            distance of patch features from the unmerged ones. `map_change`: mean absolute change
            of the map. `agreement`: F of the map against the unmerged map, both thresholded at
            0.5; it does not measure accuracy. With masks also `max_f` and `auroc` of the map, and
            `max_f_change` and `auroc_change` from the unmerged model's on the same pictures.
    """

    method: str
    layers: Layers | None
    budget: float
    setting: dict[str, Any] | None = None
    unreachable: str | None = None
    flop_ratio: float | None = None
    figures: dict[str, FigureMean] = field(default_factory=dict)


@dataclass(frozen=True)
class DenseScoreRow:
    """How well a token score of the unmerged model finds the foreground.

    Attributes:
        layer: Counted from 0.
        score: One of `SCORES`.
        auroc: Probability that a foreground patch scores higher than a background patch; for the
            negated score it is 1 minus this.
    """

    layer: int
    score: str
    auroc: FigureMean


@dataclass(frozen=True)
class FailedPicture:
    """A picture that could not be measured, and why."""

    name: str
    error: str


@dataclass(frozen=True)
class NotedPicture:
    """A video with something unusual, such as frames that were repeated."""

    name: str
    notes: tuple[str, ...]


@dataclass(frozen=True)
class DenseResult:
    """The result of the whole benchmark.

    Attributes:
        unmerged: The unmerged model, at budget 1.
        rows: All other rows.
        scores: Token scores by layer, then by score; empty if no picture has both foreground and
            background.
        scores_against: What the scores are compared with: `"masks"`, or without masks the unmerged
            model's `"own map"`, thresholded at 0.5.
        pictures: Names of the pictures, in the order of the `values` of each figure.
        num_masks: Pictures with a mask.
        failed: Pictures that could not be read.
        side: Side of a picture, pixels.
        num_frames: Frames taken from each video.
        gflops: GFLOPs of the unmerged backbone for one picture; 1 MAC = 2 FLOPs.
        noted: Videos that were measured although something is unusual.
    """

    unmerged: DenseRow
    rows: tuple[DenseRow, ...]
    scores: tuple[DenseScoreRow, ...]
    scores_against: str
    pictures: tuple[str, ...]
    num_masks: int
    failed: tuple[FailedPicture, ...]
    side: int
    num_frames: int
    gflops: float
    noted: tuple[NotedPicture, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return all fields, ready for JSON."""
        return asdict(self)


def mean_figure(values: Sequence[float | None]) -> FigureMean | None:
    """Average a figure over the pictures that have it; None if none has it."""
    known = [value for value in values if value is not None]
    if not known:
        return None
    error = statistics.stdev(known) / len(known) ** 0.5 if len(known) > 1 else None
    return FigureMean(statistics.fmean(known), error, tuple(values))
