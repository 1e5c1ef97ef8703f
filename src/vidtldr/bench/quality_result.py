"""The result of the quality benchmark: rows of figures and of paired differences."""

import statistics
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

from vidtldr.baselines.schedules import Layers
from vidtldr.bench.outcomes import Difference
from vidtldr.bench.quality_options import QualityOptions
from vidtldr.measure.busyness import BusyReport
from vidtldr.measure.gain import Gain

__all__ = ["NUM_TIMED_CLIPS", "QualityResult", "Row", "Spread", "spread"]

NUM_TIMED_CLIPS = 8  # a batch of noise: the time does not depend on which tokens merge


@dataclass(frozen=True)
class Spread:
    """A figure over several seeds.

    Attributes:
        mean: Mean over the seeds.
        std: Sample standard deviation over the seeds; 0 for one seed.
        values: The figure of each seed.
    """

    mean: float
    std: float
    values: tuple[float, ...]


@dataclass(frozen=True)
class Row:
    """A method at a budget and its results; there are no figures if the budget is out of reach.

    Attributes:
        method: Name of the method.
        layers: The layers that may merge, 0-based; None where not applicable.
        budget: Upper limit on the FLOPs, as a share of the unmerged forward's.
        setting: The method's setting.
        unreachable: Why the budget cannot be met; None if it can.
        flop_ratio: The counted FLOP ratio.
        measures: Each figure that was measured, in percent, and the mean cosine with the unmerged
            model's embeddings; see `FIGURES` of `vidtldr.bench.quality`.
        change: Each figure minus the unmerged model's on the same clips.
        behind_best: Each figure minus the best at the same budget on the same clips; 0 for the
            best method itself. None for the unmerged model.
        over_vid_tldr: Each figure minus vid-TLDR's at the same budget on the same clips: that of
            vid-TLDR in the same layers, or else that of its first row. None if vid-TLDR has no row
            at that budget.
        timing: Median clips per second of the vision encoder, and of the unmerged one in the same
            rounds; median, lowest and highest speed-up of neighbouring runs; whether the machine
            was busy.
    """

    method: str
    layers: Layers | None
    budget: float
    setting: dict[str, Any] | None = None
    unreachable: str | None = None
    flop_ratio: float | None = None
    measures: dict[str, Spread] | None = None
    change: dict[str, Difference] | None = None
    behind_best: dict[str, Difference] | None = None
    over_vid_tldr: dict[str, Difference] | None = None
    timing: dict[str, float] | None = None

    @property
    def gain(self) -> Gain | None:
        """The gain in time per batch; None if not timed."""
        if self.timing is None or self.flop_ratio is None:
            return None
        return Gain(
            self.timing["speedup"],
            self.timing["lowest_speedup"],
            self.timing["highest_speedup"],
            unmerged_ms=1e3 * NUM_TIMED_CLIPS / self.timing["unmerged_clips_per_second"],
            flop_ratio=self.flop_ratio,
            num_clips=NUM_TIMED_CLIPS,
            busy=BusyReport(
                self.timing.get("other_share", 0.0), bool(self.timing.get("machine_was_busy"))
            ),
        )


@dataclass(frozen=True)
class QualityResult:
    """The result of the whole benchmark.

    Attributes:
        unmerged: The unmerged model, at budget 1.
        rows: All other rows.
        gflops: GFLOPs of the unmerged vision encoder for one clip; 1 MAC = 2 FLOPs.
        num_tokens: Number of tokens in its first layer.
        seconds: Processor time of all measurements, summed over threads and processes, those read
            from the store included; without drawing clips and timing.
        options: How much was measured.
    """

    unmerged: Row
    rows: tuple[Row, ...]
    gflops: float
    num_tokens: int
    seconds: float
    options: QualityOptions

    def to_dict(self) -> dict[str, Any]:
        """Return all fields, ready for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Invert `to_dict`, also after JSON and with extra keys."""
        options = {**values["options"], "seeds": tuple(values["options"]["seeds"])}
        return cls(
            unmerged=_row_of(values["unmerged"]),
            rows=tuple(_row_of(row) for row in values["rows"]),
            gflops=values["gflops"],
            num_tokens=values["num_tokens"],
            seconds=values["seconds"],
            options=QualityOptions(**options),
        )


def _row_of(values: Mapping[str, Any]) -> Row:
    own = dict(values)
    if own["layers"] is not None:
        own["layers"] = tuple(own["layers"])
    if own["measures"] is not None:
        own["measures"] = {name: _spread_of(each) for name, each in own["measures"].items()}
    for name in ("change", "behind_best", "over_vid_tldr"):
        if own[name] is not None:
            own[name] = {each: Difference.from_dict(found) for each, found in own[name].items()}
    return Row(**own)


def _spread_of(values: Mapping[str, Any]) -> Spread:
    return Spread(values["mean"], values["std"], tuple(values["values"]))


def spread(values: Iterable[float]) -> Spread:
    """Summarise a figure over several seeds."""
    every = tuple(values)
    std = statistics.stdev(every) if len(every) > 1 else 0.0
    return Spread(statistics.fmean(every), std, every)
