"""Rows for a busy machine: the gain left when every core also runs another process."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from statistics import median
from types import MappingProxyType

from torch import Tensor

from vidtldr.bench.busy_cores import available_cores, busy_cores
from vidtldr.bench.never_slower.gain import CPU, MERGED, UNMERGED, pair_of
from vidtldr.bench.never_slower.workloads import Workload, umt_b, videomae_384, videomae_b
from vidtldr.bench.row import Row, RowFunction, Settings, Spread, Target
from vidtldr.measure.timing import Timing, paired_ratios, time_in_turn

__all__ = ["BUSY_ROWS"]

QUIET, BUSY = "quiet", "busy"
KEPT = Target("kept_share", at_least=0.8)
_Times = dict[str, dict[str, list[float]]]


def _rows_of(name: str, build: Callable[[bool], Workload], settings: Settings) -> Iterator[Row]:
    workload = build(settings.tiny)
    runs, details = pair_of(workload)
    times = _times_in_turn(runs, settings)
    gains = {state: _gain(found) for state, found in times.items()}
    flops = details["flops"]
    figures: dict[str, float | Spread] = {
        "quiet_gain": gains[QUIET],
        "busy_gain": gains[BUSY],
        "flop_reduction": flops[UNMERGED] / flops[MERGED],
        "kept_share": _kept_share(times),
    }
    details |= {"times_ms": times, "num_busy_processes": len(available_cores())}
    yield Row(f"busy-{name}", f"{workload.title}, float32, batch 1", figures, KEPT, details)


def _times_in_turn(runs: Mapping[str, Callable[[], Tensor]], settings: Settings) -> _Times:
    """Time both sides quiet, then both busy, every round; busy processes last half a round."""
    times: _Times = {state: {side: [] for side in runs} for state in (QUIET, BUSY)}
    for _ in range(settings.num_warmups):
        _once(runs)
    for _ in range(settings.num_rounds):
        _append(times[QUIET], _once(runs))
        with busy_cores(available_cores()):
            _append(times[BUSY], _once(runs))
    return times


def _once(runs: Mapping[str, Callable[[], Tensor]]) -> dict[str, Timing]:
    return time_in_turn(runs, num_repeats=1, num_warmups=0, device=CPU)


def _append(times: dict[str, list[float]], timings: Mapping[str, Timing]) -> None:
    for side, timing in timings.items():
        times[side] += timing.times_ms


def _gain(times: Mapping[str, list[float]]) -> Spread:
    return paired_ratios(Timing(tuple(times[UNMERGED])), Timing(tuple(times[MERGED])))


def _kept_share(times: _Times) -> Spread:
    """Return the busy gain over the quiet gain of the same rounds."""
    gains = {
        state: [a / b for a, b in zip(found[UNMERGED], found[MERGED], strict=True)]
        for state, found in times.items()
    }
    shares = [busy / quiet for busy, quiet in zip(gains[BUSY], gains[QUIET], strict=True)]
    return {"median": median(shares), "lowest": min(shares), "highest": max(shares)}


#: Groups of rows by the name that `--rows` takes. Read-only.
BUSY_ROWS: Mapping[str, RowFunction] = MappingProxyType(
    {
        "videomae-384": partial(_rows_of, "videomae-384", videomae_384),
        "videomae-b": partial(_rows_of, "videomae-b", videomae_b),
        "umt-b": partial(_rows_of, "umt-b", umt_b),
    }
)
