"""Time parts of a forward in turn, with several calls per measurement."""

from collections.abc import Callable, Mapping
from typing import Any

from gpu_stages.stage import Work
from vidtldr.measure.timing import Timing, time_in_turn

__all__ = ["described", "time_parts"]


def time_parts(parts: Mapping[str, Callable[[], object]], work: Work) -> dict[str, Timing]:
    """Time one call of each part, in milliseconds, from runs of `num_calls` calls."""
    num_calls = work.sizes.num_calls
    timings = time_in_turn(
        {name: _repeat(part, num_calls) for name, part in parts.items()},
        num_repeats=work.sizes.num_rounds,
        num_warmups=work.sizes.num_warmups,
        device=work.device,
    )
    return {
        name: Timing(tuple(ms / num_calls for ms in timing.times_ms))
        for name, timing in timings.items()
    }


def described(timing: Timing) -> dict[str, Any]:
    """Return median, spread and every measurement, ready for JSON."""
    fastest, slowest = timing.spread_ms
    return {
        "median_ms": timing.median_ms,
        "fastest_ms": fastest,
        "slowest_ms": slowest,
        "times_ms": timing.times_ms,
    }


def _repeat(part: Callable[[], object], num_calls: int) -> Callable[[], None]:
    def run() -> None:
        for _ in range(num_calls):
            part()

    return run
