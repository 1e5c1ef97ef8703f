"""Wall-clock time of several forwards, or parts of them, measured in turn."""

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

from vidtldr.measure.busyness import IDLE, BusyReport, Reading, busy_between, read_processor

__all__ = ["Timing", "paired_ratios", "synchronize", "time_in_turn"]


@dataclass(frozen=True)
class Timing:
    """Repeated measurements of one forward.

    Attributes:
        times_ms: Every measurement, in milliseconds, in the order taken.
        busy: CPU time other programs took meanwhile.
    """

    times_ms: tuple[float, ...]
    busy: BusyReport = IDLE

    @property
    def median_ms(self) -> float:
        """The median, in milliseconds."""
        return statistics.median(self.times_ms)

    @property
    def spread_ms(self) -> tuple[float, float]:
        """The fastest and the slowest, in milliseconds."""
        return min(self.times_ms), max(self.times_ms)


def time_in_turn(
    runs: Mapping[str, Callable[[], object]],
    *,
    num_repeats: int,
    num_warmups: int = 1,
    device: torch.device,
    on_step: Callable[[], object] = lambda: None,
) -> dict[str, Timing]:
    """Time several forwards against each other: one of each, then the next round.

    A temporary disturbance then affects all of them alike.

    Args:
        runs: Forwards by name.
        num_repeats: Timed rounds.
        num_warmups: Warm-up rounds before them.
        device: Where they run; it is synchronised around each.
        on_step: Called after every forward, to show progress.

    Returns:
        The timing of each, by name, with the CPU time other programs took during the timed rounds.

    Raises:
        ValueError: If `num_repeats` is not positive.
    """
    if num_repeats < 1:
        raise ValueError(
            f"num_repeats must be at least 1, got {num_repeats}. Use 5 or more to trust a median."
        )
    for _ in range(num_warmups):
        _time_round(runs, device, on_step)
    before = read_processor()
    rounds = [_time_round(runs, device, on_step) for _ in range(num_repeats)]
    busy = _busy_since(before, device)
    times_ms = zip(*rounds, strict=True)
    return {name: Timing(each, busy) for name, each in zip(runs, times_ms, strict=True)}


def paired_ratios(base: Timing, other: Timing) -> dict[str, float]:
    """Return how many times faster `other` was than `base`, from per-round ratios.

    Returns:
        Their `median`, `lowest` and `highest`.
    """
    ratios = [a / b for a, b in zip(base.times_ms, other.times_ms, strict=True)]
    return {"median": statistics.median(ratios), "lowest": min(ratios), "highest": max(ratios)}


def _time_round(
    runs: Mapping[str, Callable[[], object]],
    device: torch.device,
    on_step: Callable[[], object],
) -> list[float]:
    times_ms = []
    for run in runs.values():
        times_ms.append(_time_once(run, device))
        on_step()
    return times_ms


def _busy_since(before: Reading, device: torch.device) -> BusyReport:
    computes_here = device.type == "cpu"
    num_threads = torch.get_num_threads() if computes_here else 1
    return busy_between(before, read_processor(), num_threads, waits=not computes_here)


def _time_once(run: Callable[[], object], device: torch.device) -> float:
    synchronize(device)
    start = time.perf_counter()
    run()
    synchronize(device)
    return (time.perf_counter() - start) * 1e3


def synchronize(device: torch.device) -> None:
    """Wait until a device has done all work given to it; nothing to wait for on a CPU."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)
