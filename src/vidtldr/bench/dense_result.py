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
    "NotedPicture",
    "Over",
    "over",
]


@dataclass(frozen=True)
class Over:
    """One figure over pictures.

    Attributes:
        mean: Over the pictures that have it.
        standard_error: Of that mean; None for one picture.
        values: Picture by picture; None where a picture does not have it.
    """

    mean: float
    standard_error: float | None
    values: tuple[float | None, ...]


@dataclass(frozen=True)
class DenseRow:
    """A method at a budget and its results; figures are empty if the budget is unreachable.

    Attributes:
        method: Its name.
        layers: The layers that may merge, 0-based; None for the unmerged model.
        budget: The most FLOPs of the backbone, as a share of the unmerged forward's.
        setting: The method's setting.
        unreachable: Why the budget cannot be met, if so.
        flop_ratio: The counted FLOP ratio of the backbone.
        figures: By name, those that at least one picture has. `feature_distance`: mean cosine
            distance of every place's features from the unmerged ones. `map_change`: mean absolute
            change of the map. `agreement`: F of the map above 0.5 against the unmerged one above
            0.5, which is no accuracy. Where there are masks `max_f` and `auroc` of the map, and
            `max_f_change` and `auroc_change` from the unmerged model's on the same pictures.
    """

    method: str
    layers: Layers | None
    budget: float
    setting: dict[str, Any] | None = None
    unreachable: str | None = None
    flop_ratio: float | None = None
    figures: dict[str, Over] = field(default_factory=dict)


@dataclass(frozen=True)
class DenseScoreRow:
    """How well a token score of the unmerged model finds the foreground.

    Attributes:
        layer: Counted from 0.
        score: One of `SCORES`.
        auroc: Probability that a place of the foreground scores higher than one of the background;
            the negated score has 1 minus it.
    """

    layer: int
    score: str
    auroc: Over


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
        scores: Token scores by layer, then by score; empty if no picture has both classes.
        scores_against: What they are compared with: `"masks"`, or without any the unmerged
            model's `"own map"` above 0.5.
        pictures: Names of the pictures, in the order of all values.
        num_masks: Pictures with a mask.
        failed: Pictures that could not be read.
        side: Side of a picture, pixels.
        num_frames: Frames taken of a video.
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


def over(values: Sequence[float | None]) -> Over | None:
    """Summarise one figure over pictures; None if no picture has it."""
    known = [value for value in values if value is not None]
    if not known:
        return None
    error = statistics.stdev(known) / len(known) ** 0.5 if len(known) > 1 else None
    return Over(statistics.fmean(known), error, tuple(values))
