"""Quality of the bundled model at each share of its FLOPs, method by method."""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, Self

import torch

from vidtldr.baselines.baseline import Unmerged, Variant
from vidtldr.baselines.schedules import Layers
from vidtldr.bench.quality_methods import Cell, vision_flops
from vidtldr.bench.seed_exam import SeedExam
from vidtldr.measure.busyness import BusyReport
from vidtldr.measure.environment import device_name
from vidtldr.measure.fork_rng import fork_rng
from vidtldr.measure.gain import Gain
from vidtldr.measure.result_store import ResultStore
from vidtldr.measure.timing import time_in_turn
from vidtldr.models.umt.vision import VisionEncoder
from vidtldr.shapes.factors import Split
from vidtldr.shapes.model import ShapesUMT
from vidtldr.steps import OnStep, ignore_steps
from vidtldr.tasks.fingerprint import module_sha256

__all__ = ["MEASURES", "QualityOptions", "QualityResult", "Row", "Spread", "run_quality", "spread"]

MEASURES = ("r1", "text_to_video_r1", "video_to_text_r1", "answering", "labels", "cosine")
NUM_TIMED_CLIPS = 8  # in a batch, of noise: which tokens merge does not change the cost
NUM_WARMUPS = 1


@dataclass(frozen=True)
class QualityOptions:
    """How much to measure.

    Attributes:
        num_clips: Clips for each seed.
        seeds: Seeds of the world.
        split: Split of the world; choices are made on `"validation"` and reported on `"test"`.
        batch_size: Clips per batch.
        num_rounds: Timed pairs of each setting and the unmerged model; 0 disables timing.
    """

    num_clips: int
    seeds: tuple[int, ...]
    split: Split = "test"
    batch_size: int = 32
    num_rounds: int = 3


@dataclass(frozen=True)
class Spread:
    """One figure over several seeds.

    Attributes:
        mean: Their mean.
        std: Their sample standard deviation; 0 for one seed.
        values: Seed by seed.
    """

    mean: float
    std: float
    values: tuple[float, ...]


@dataclass(frozen=True)
class Row:
    """A method at a budget and its results; figures are empty if the budget is unreachable.

    Attributes:
        method: Its name.
        layers: The layers that may merge, 0-based; None where not applicable.
        budget: The most FLOPs, as a share of the unmerged forward's.
        setting: The method's setting.
        unreachable: Why the budget cannot be met, if so.
        flop_ratio: The counted FLOP ratio.
        measures: Each of `MEASURES`; all but the cosine in percent.
        r1_change: `r1` minus the unmerged model's on the same clips, points.
        timing: Median clips per second of the vision encoder, and of the unmerged one in the same
            rounds; the speed-up, median, lowest and highest of neighbouring runs; whether the
            machine was busy.
    """

    method: str
    layers: Layers | None
    budget: float
    setting: dict[str, Any] | None = None
    unreachable: str | None = None
    flop_ratio: float | None = None
    measures: dict[str, Spread] | None = None
    r1_change: Spread | None = None
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
        num_tokens: Tokens that enter its first layer.
        options: How much was measured.
    """

    unmerged: Row
    rows: tuple[Row, ...]
    gflops: float
    num_tokens: int
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
            options=QualityOptions(**options),
        )


def _row_of(values: Mapping[str, Any]) -> Row:
    own = dict(values)
    if own["layers"] is not None:
        own["layers"] = tuple(own["layers"])
    if own["measures"] is not None:
        own["measures"] = {name: _spread_of(each) for name, each in own["measures"].items()}
        own["r1_change"] = _spread_of(own["r1_change"])
    return Row(**own)


def _spread_of(values: Mapping[str, Any]) -> Spread:
    return Spread(values["mean"], values["std"], tuple(values["values"]))


def run_quality(
    model: ShapesUMT,
    cells: Sequence[Cell],
    options: QualityOptions,
    store: ResultStore,
    on_step: OnStep = ignore_steps,
) -> QualityResult:
    """Measure every cell, each setting once per seed, however many cells share it.

    Args:
        model: In evaluation mode, unmerged, on its device.
        cells: Cells from `plan`.
        options: How much to measure.
        store: Holds earlier measurements and stores new ones.
        on_step: Called after each measurement with its name, how many are done and the total.
    """
    variants = _different(
        [Unmerged(), *(cell.variant for cell in cells if cell.variant is not None)]
    )
    identity = _identity(model)
    measured: dict[str, list[dict[str, float]]] = {name: [] for name in variants}
    for seed in options.seeds:
        exam = SeedExam(model, seed, options.split, options.num_clips, options.batch_size)
        for done, (name, variant) in enumerate(variants.items(), start=1):
            key = {**identity, "clips": exam.fingerprint, "setting": variant.to_dict()}
            measured[name].append(store.get(key, partial(exam.measure, variant)))
            on_step(f"seed {seed}", done, len(variants))
    timings = _timings(model.vision_encoder, variants, options.num_rounds, identity, store, on_step)
    cell = Cell("unmerged", None, 1.0, Unmerged())
    full = vision_flops(model.vision_encoder, Unmerged())
    rows = [_row(each, model.vision_encoder, full, measured, timings) for each in (cell, *cells)]
    config = model.config
    num_tokens = config.num_frames * (config.image_size // config.patch_size) ** 2
    return QualityResult(rows[0], tuple(rows[1:]), full / 1e9, num_tokens, options)


def spread(values: Iterable[float]) -> Spread:
    """Summarise one figure over several seeds."""
    every = tuple(values)
    std = statistics.stdev(every) if len(every) > 1 else 0.0
    return Spread(statistics.fmean(every), std, every)


def _different(variants: Iterable[Variant]) -> dict[str, Variant]:
    return {str(variant.to_dict()): variant for variant in variants}


def _identity(model: ShapesUMT) -> dict[str, Any]:
    """What a measurement depends on besides the setting."""
    weights = next(model.parameters())
    return {
        "weights": module_sha256(model),
        "dtype": str(weights.dtype).removeprefix("torch."),
        "device": device_name(weights.device),
    }


def _row(
    cell: Cell,
    encoder: VisionEncoder,
    full_flops: int,
    measured: dict[str, list[dict[str, float]]],
    timings: dict[str, dict[str, float]],
) -> Row:
    if cell.variant is None:
        return Row(cell.method, cell.layers, cell.budget, unreachable=cell.unreachable)
    setting = cell.variant.to_dict()
    by_seed, unmerged = measured[str(setting)], measured[str(Unmerged().to_dict())]
    changes = (own["r1"] - full["r1"] for own, full in zip(by_seed, unmerged, strict=True))
    return Row(
        method=cell.method,
        layers=cell.layers,
        budget=cell.budget,
        setting=setting,
        flop_ratio=vision_flops(encoder, cell.variant) / full_flops,
        measures={name: spread(each[name] for each in by_seed) for name in MEASURES},
        r1_change=spread(changes),
        timing=timings.get(str(setting)),
    )


def _timings(
    encoder: VisionEncoder,
    variants: dict[str, Variant],
    num_rounds: int,
    identity: dict[str, Any],
    store: ResultStore,
    on_step: OnStep,
) -> dict[str, dict[str, float]]:
    timings: dict[str, dict[str, float]] = {}
    if num_rounds == 0:
        return timings
    how = {"rounds": num_rounds, "batch": NUM_TIMED_CLIPS, "threads": torch.get_num_threads()}
    for done, (name, variant) in enumerate(variants.items(), start=1):
        key = {**identity, "time": how, "setting": variant.to_dict()}
        timings[name] = store.get(
            key,
            partial(time_variant, encoder, variant, num_rounds),
            lambda v: not v["machine_was_busy"],
        )
        on_step("timing", done, len(variants))
    return timings


def time_variant(encoder: VisionEncoder, variant: Variant, num_rounds: int) -> dict[str, float]:
    """Time a variant and the unmerged encoder in turn; see `Row.timing`."""
    config, weights = encoder.config, next(encoder.parameters())
    side = config.image_size
    clips = torch.randn(NUM_TIMED_CLIPS, config.num_frames, 3, side, side).to(weights.device)
    forwards = {"unmerged": Unmerged().forward_of(encoder), "peer": variant.forward_of(encoder)}
    with torch.inference_mode(), fork_rng(weights.device):
        timed = time_in_turn(
            {name: partial(forward, clips) for name, forward in forwards.items()},
            num_repeats=num_rounds,
            num_warmups=NUM_WARMUPS,
            device=weights.device,
        )
    pairs = zip(timed["unmerged"].times_ms, timed["peer"].times_ms, strict=True)
    speedups = [unmerged / own for unmerged, own in pairs]
    return {
        "clips_per_second": NUM_TIMED_CLIPS / timed["peer"].median_ms * 1e3,
        "unmerged_clips_per_second": NUM_TIMED_CLIPS / timed["unmerged"].median_ms * 1e3,
        "speedup": statistics.median(speedups),
        "lowest_speedup": min(speedups),
        "highest_speedup": max(speedups),
        **timed["peer"].busy.to_dict(),
    }
