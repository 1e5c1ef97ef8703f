"""Time settings in turn with the unmerged model; store the times if the machine was idle."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import torch
from torch import nn

from vidtldr.measure.busyness import BusyReport
from vidtldr.measure.device_name import device_name
from vidtldr.measure.fork_rng import fork_rng
from vidtldr.measure.timing import Timing, paired_ratios, time_in_turn
from vidtldr.patch.twin import twin
from vidtldr.tune.result import Point, TimedPoint
from vidtldr.tune.trials import Trials

__all__ = ["time_points"]


def time_points(
    trials: Trials, points: Sequence[Point], num_rounds: int
) -> tuple[Timing, list[TimedPoint]]:
    """Time the forward of the first clip, each setting once per round.

    Args:
        trials: The model and its clips.
        points: Settings, at least one.
        num_rounds: Timed rounds, after one warm-up round.

    Returns:
        Times of the unmerged model, and the points with theirs.
    """
    clip, device = trials.clips[0], trials.device
    settings = [point.setting for point in points]
    key: dict[str, Any] = {
        "context": trials.context,
        "timed": device_name(device),
        "num_threads": torch.get_num_threads(),
        "num_rounds": num_rounds,
        "settings": [setting.to_dict() for setting in settings],
    }
    trials.begin("6 of 7: timing the best in turn", (1 + num_rounds) * (1 + len(points)))

    def measure() -> dict[str, Any]:
        x, read = trials.pixel_values(clip), trials.subject.read

        def run_of(model: nn.Module) -> Callable[[], object]:
            def run() -> object:
                with torch.inference_mode():
                    return read(model, x)

            return run

        models = [twin(trials.subject.model)]
        models += [setting.twin_of(trials.subject.model) for setting in settings]
        runs = {str(number): run_of(model) for number, model in enumerate(models)}
        with fork_rng(device):
            timings = time_in_turn(runs, num_repeats=num_rounds, device=device, on_step=trials.step)
        times_ms = [list(timing.times_ms) for timing in timings.values()]
        date = datetime.now(UTC).strftime("%Y-%m-%d")
        return {"times_ms": times_ms, "date": date, **timings["0"].busy.to_dict()}

    found = trials.store.get(key, measure, lambda value: not value["machine_was_busy"])
    busy = BusyReport(found.get("other_share", 0.0), found.get("machine_was_busy", False))
    unmerged, *merged = (Timing(tuple(each), busy) for each in found["times_ms"])
    return unmerged, [
        TimedPoint(
            **vars(point),
            timing=timing,
            speedups=paired_ratios(unmerged, timing),
            timed_on=found["date"],
        )
        for point, timing in zip(points, merged, strict=True)
    ]
