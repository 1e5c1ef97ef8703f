"""What a search found."""

from dataclasses import asdict, dataclass
from typing import Any

from vidtldr.bench.peers import Merging
from vidtldr.bench.quality_methods import PAPER, Layers
from vidtldr.hosts.config import MergeConfig
from vidtldr.hosts.timing import Timing
from vidtldr.tune.target import Target
from vidtldr.tune.trials import Outcome, Setting

__all__ = ["DROPPING", "MARKERS", "PAPER", "TOME", "TUNED", "Point", "TimedPoint", "TuneResult"]

TUNED, TOME, DROPPING = "tuned", "ToMe (keys)", "random dropping"
#: What a user knows already, to be compared with.
MARKERS = (PAPER, TOME, DROPPING)


@dataclass(frozen=True)
class Point:
    """One setting and how far it moves the answers.

    Attributes:
        kind: `"tuned"`, or the name of a marker.
        name: What a table calls it.
        layers: That merge, 0-based.
        setting: What it does.
        flop_ratio: Its FLOPs over the unmerged transformer's.
        outcome: Drift over the clips.
    """

    kind: str
    name: str
    layers: Layers
    setting: Setting
    flop_ratio: float
    outcome: Outcome

    @property
    def drift(self) -> float:
        """Mean over the clips."""
        return self.outcome.mean

    @property
    def config(self) -> MergeConfig | None:
        """The schedule, as counts; None for what is no merging."""
        return self.setting.config if isinstance(self.setting, Merging) else None

    def to_dict(self) -> dict[str, Any]:
        """Everything, ready for JSON."""
        return {
            "kind": self.kind,
            "name": self.name,
            "layers": list(self.layers),
            "setting": self.setting.to_dict(),
            "flop_ratio": self.flop_ratio,
            "drift": asdict(self.outcome),
        }


@dataclass(frozen=True)
class TimedPoint(Point):
    """A setting that was timed in turn with the unmerged model.

    Attributes:
        timing: Of one clip's forward.
        speedups: Median, lowest and highest of the ratios of the same rounds.
        timed_on: Date in UTC, YYYY-MM-DD; a search that goes on reads times taken before.
    """

    timing: Timing
    speedups: dict[str, float]
    timed_on: str

    @property
    def speedup(self) -> float:
        """The median ratio."""
        return self.speedups["median"]

    def to_dict(self) -> dict[str, Any]:
        """Everything, ready for JSON."""
        times = {"times_ms": self.timing.times_ms, "median_ms": self.timing.median_ms}
        return super().to_dict() | times | {"speedup": self.speedups, "timed_on": self.timed_on}


@dataclass(frozen=True)
class TuneResult:
    """What a search found.

    Attributes:
        target: What was to be reached.
        num_clips: Clips that every drift below is a mean over.
        unmerged: Times of the unmerged model, in turn with those of `rows`; rows that correct a
            predicted speed-up were timed after them, in turn with the unmerged model again.
        scores: The best place of each score and metric, at one budget, least drift first.
        points: Everything tried on all clips.
        rows: What was timed, fastest first.
        chosen: The row that serves the target best; None if none reaches it.
        nearest: The row that comes nearest where none reaches it.
        num_forwards: Forwards of merged models that were run and not read from the results' file.
    """

    target: Target
    num_clips: int
    unmerged: Timing
    scores: tuple[Point, ...]
    points: tuple[Point, ...]
    rows: tuple[TimedPoint, ...]
    chosen: TimedPoint | None
    nearest: TimedPoint
    num_forwards: int

    def to_dict(self) -> dict[str, Any]:
        """Everything, ready for JSON."""
        return {
            "target": str(self.target),
            "num_clips": self.num_clips,
            "unmerged_times_ms": self.unmerged.times_ms,
            "scores": [point.to_dict() for point in self.scores],
            "points": [point.to_dict() for point in self.points],
            "rows": [row.to_dict() for row in self.rows],
            "chosen": None if self.chosen is None else self.chosen.to_dict(),
            "nearest": self.nearest.to_dict(),
            "num_forwards": self.num_forwards,
        }
