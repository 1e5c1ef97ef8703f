"""The result of a search."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from vidtldr.baselines.baseline import Merging
from vidtldr.baselines.schedules import PAPER, Layers
from vidtldr.config import MergeConfig
from vidtldr.measure.busyness import BusyReport, busiest
from vidtldr.measure.gain import Change, Gain, change_of
from vidtldr.measure.timing import Timing
from vidtldr.model_kind import ModelKind
from vidtldr.tune.target import Target
from vidtldr.tune.trials import Outcome, Setting

__all__ = ["DROPPING", "MARKERS", "PAPER", "TOME", "TUNED", "Point", "TimedPoint", "TuneResult"]

TUNED, TOME, DROPPING = "tuned", "ToMe (keys)", "random dropping"
#: Settings a user already knows, for comparison.
MARKERS = (PAPER, TOME, DROPPING)


@dataclass(frozen=True)
class Point:
    """One setting and how far it moves the model's answers.

    Attributes:
        kind: `"tuned"`, or the name of a marker.
        name: What a table calls it.
        layers: The layers that merge, 0-based.
        setting: The setting itself.
        flop_ratio: Its FLOPs over the unmerged transformer's.
        outcome: Drift over the search clips, by which settings are chosen.
        held_out: Drift over the held-out clips; None until everything is chosen.
    """

    kind: str
    name: str
    layers: Layers
    setting: Setting
    flop_ratio: float
    outcome: Outcome
    held_out: Outcome | None = field(default=None, kw_only=True)

    @property
    def drift(self) -> float:
        """The mean drift over the search clips."""
        return self.outcome.mean

    @property
    def measured(self) -> Outcome:
        """Drift over the held-out clips."""
        assert self.held_out is not None, "read before it was measured"
        return self.held_out

    @property
    def config(self) -> MergeConfig | None:
        """The schedule, as counts; None if the setting does not merge."""
        return self.setting.config if isinstance(self.setting, Merging) else None

    def to_dict(self) -> dict[str, Any]:
        """Return all fields, ready for JSON."""
        return {
            "kind": self.kind,
            "name": self.name,
            "layers": list(self.layers),
            "setting": self.setting.to_dict(),
            "flop_ratio": self.flop_ratio,
            "drift": asdict(self.measured),
            "search_drift": asdict(self.outcome),
        }


@dataclass(frozen=True)
class TimedPoint(Point):
    """A setting timed in turn with the unmerged model.

    Attributes:
        timing: Timing of one clip's forward.
        speedups: Median, lowest and highest of the per-round ratios.
        timed_on: Date in UTC, YYYY-MM-DD; a resumed search reuses earlier times.
    """

    timing: Timing
    speedups: dict[str, float]
    timed_on: str

    @property
    def speedup(self) -> float:
        """The median ratio."""
        return self.speedups["median"]

    @property
    def change(self) -> Change:
        """The change that the rounds show."""
        return change_of(self.speedups["lowest"], self.speedups["highest"])

    def to_dict(self) -> dict[str, Any]:
        """Return all fields, ready for JSON."""
        times = {"times_ms": self.timing.times_ms, "median_ms": self.timing.median_ms}
        return super().to_dict() | times | {"speedup": self.speedups, "timed_on": self.timed_on}


@dataclass(frozen=True)
class TuneResult:
    """What a search found.

    Attributes:
        target: The target of the search.
        num_search_clips: Number of clips on which settings were tried and chosen.
        num_held_out_clips: Number of other clips, on which every point below was then run.
        unmerged: Times of the unmerged model, in turn with those of `rows`; rows that correct a
            predicted speed-up were timed later, again in turn with the unmerged model.
        scores: The best layers for each score and metric, at one budget, least drift first.
        points: Every point tried on all search clips.
        rows: The timed points, fastest first.
        chosen: The best row that reaches the target; None if none does.
        nearest: The row nearest to the target if none reaches it.
        num_forwards: Forwards of merged models that were run, not read from the results file.
        kind: The model's family, depth and number of tokens.
        drift_by: What was compared: `"feature-cosine"`, `"labels"` or `"retrieval"`.
    """

    target: Target
    num_search_clips: int
    num_held_out_clips: int
    unmerged: Timing
    scores: tuple[Point, ...]
    points: tuple[Point, ...]
    rows: tuple[TimedPoint, ...]
    chosen: TimedPoint | None
    nearest: TimedPoint
    num_forwards: int
    kind: ModelKind
    drift_by: str

    @property
    def num_clips(self) -> int:
        """The number of all clips."""
        return self.num_search_clips + self.num_held_out_clips

    @property
    def is_met_on_held_out(self) -> bool | None:
        """Whether the chosen row meets a target for drift on the held-out clips, too.

        None for other targets, which do not depend on the clips, and if nothing is chosen.
        """
        if self.chosen is None or self.target.name != "drift":
            return None
        return self.chosen.measured.mean <= self.target.value

    @property
    def busy(self) -> BusyReport:
        """CPU time taken by other programs while the rows were timed."""
        return busiest(row.timing.busy for row in self.rows)

    def gain_of(self, row: TimedPoint) -> Gain:
        """Return a row's gain in time per clip, with the reason if there is none."""
        removed = sum(row.setting.to_dict()["r"])
        before = self.kind.num_tokens
        return Gain(
            **row.speedups,
            unmerged_ms=self.unmerged.median_ms,
            flop_ratio=row.flop_ratio,
            num_tokens=None if before is None else (before, before - removed),
            num_clips=1,
            busy=row.timing.busy,
        )

    def schedule(self, environment: Mapping[str, Any]) -> MergeConfig | None:
        """Return the chosen schedule as a file should hold it; None if none is chosen.

        Args:
            environment: Where it was measured, ready for JSON.

        Returns:
            The schedule with the kind of model it was made for, and what was measured.
        """
        row = self.chosen
        if row is None or row.config is None:
            return None
        measured = {
            "target": str(self.target),
            "speedup": row.speedups,
            "timed_on": row.timed_on,
            "flop_ratio": row.flop_ratio,
            "drift": asdict(row.measured),
            "drift_on": "clips held out from the search",
            "search_drift": asdict(row.outcome),
            "drift_by": self.drift_by,
            "is_met_on_held_out": self.is_met_on_held_out,
            **self._clip_counts(),
            "environment": environment,
        }
        return replace(row.config, made_for=self.kind, measured=measured)

    def to_dict(self) -> dict[str, Any]:
        """Return all fields, ready for JSON."""
        return {
            "target": str(self.target),
            **self._clip_counts(),
            "unmerged_times_ms": self.unmerged.times_ms,
            "scores": [point.to_dict() for point in self.scores],
            "points": [point.to_dict() for point in self.points],
            "rows": [row.to_dict() for row in self.rows],
            "chosen": None if self.chosen is None else self.chosen.to_dict(),
            "nearest": self.nearest.to_dict(),
            "is_met_on_held_out": self.is_met_on_held_out,
            "num_forwards": self.num_forwards,
            **self.busy.to_dict(),
        }

    def _clip_counts(self) -> dict[str, int]:
        names = ("num_clips", "num_search_clips", "num_held_out_clips")
        return {name: getattr(self, name) for name in names}
