"""Wall-clock time of several forwards, or parts of them, measured in turn."""

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

__all__ = ["Timing", "paired_ratios", "time_in_turn"]


@dataclass(frozen=True)
class Timing:
    """Repeated measurements of one forward.

    Attributes:
        times_ms: Every measurement, in milliseconds, in the order taken.
    """

    times_ms: tuple[float, ...]

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

    What disturbs the machine for a while then disturbs all of them alike.

    Args:
        runs: Forwards by name.
        num_repeats: Rounds that count.
        num_warmups: Rounds before them that do not.
        device: Where they run; it is synchronised around each.
        on_step: Called after every forward, to show progress.

    Returns:
        The timing of each, by name.

    Raises:
        ValueError: If `num_repeats` is not positive.
    """
    if num_repeats < 1:
        raise ValueError(
            f"num_repeats must be at least 1, got {num_repeats}. Use 5 or more to trust a median."
        )
    times_ms: dict[str, list[float]] = {name: [] for name in runs}
    for round_index in range(num_warmups + num_repeats):
        for name, run in runs.items():
            elapsed_ms = _time_once(run, device)
            if round_index >= num_warmups:
                times_ms[name].append(elapsed_ms)
            on_step()
    return {name: Timing(tuple(measured)) for name, measured in times_ms.items()}


def paired_ratios(base: Timing, other: Timing) -> dict[str, float]:
    """How many times faster `other` was than `base`: ratios of the pairs of the same rounds.

    Returns:
        Their `median`, `lowest` and `highest`.
    """
    ratios = [a / b for a, b in zip(base.times_ms, other.times_ms, strict=True)]
    return {"median": statistics.median(ratios), "lowest": min(ratios), "highest": max(ratios)}


def _time_once(run: Callable[[], object], device: torch.device) -> float:
    _synchronize(device)
    start = time.perf_counter()
    run()
    _synchronize(device)
    return (time.perf_counter() - start) * 1e3


def _synchronize(device: torch.device) -> None:
    if device.type != "cpu":
        torch.accelerator.synchronize(device)
