"""Detect whether other programs used the CPU while something was timed.

The rule, on Linux: the kernel counts how long each core was busy. On the cores this process may
use, busy time not spent on this process belongs to others, and so does time a hypervisor gave to
other machines. Others on free cores do no harm. So the machine counts as busy if the timed threads
cannot have had `MOST_LOST` of the time they want, and if the others took more than `LEAST_SECONDS`,
below which the kernel's tick clock is too coarse.

Elsewhere, a computing thread should always be on a core, so the others' share is the wall time
minus the CPU time of the calling thread; if it waits for an accelerator, nothing can be said.
"""

import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

__all__ = ["IDLE", "BusyReport", "Reading", "busiest", "busy_between", "read_processor"]

MOST_LOST, LEAST_SECONDS = 0.1, 0.05
_STAT = Path("/proc/stat")


@dataclass(frozen=True)
class BusyReport:
    """CPU time other programs took while something was timed.

    Attributes:
        other_share: Their share of the time of all cores this process may use, in [0, 1].
        is_busy: Whether that is enough to make the times unreliable.
    """

    other_share: float
    is_busy: bool

    @property
    def warning(self) -> str:
        """A warning about the times; empty if they are reliable."""
        if not self.is_busy:
            return ""
        return (
            f"other programs used {100 * self.other_share:.0f} % of the processor while this was "
            "timed: do not trust the times; run it again on an idle machine"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return both fields, ready for JSON."""
        return {"machine_was_busy": self.is_busy, "other_share": round(self.other_share, 3)}


IDLE = BusyReport(0.0, False)


class Reading(NamedTuple):
    """Clocks at one moment, in seconds; only differences are meaningful.

    Attributes:
        wall: Wall-clock time.
        own: CPU time of this process, summed over its threads.
        own_thread: CPU time of the calling thread.
        busy: Time that the cores were busy with any process; None if the system does not report it.
        stolen: Time that a hypervisor gave to other machines.
        num_cores: Cores that this process may use.
    """

    wall: float
    own: float
    own_thread: float
    busy: float | None
    stolen: float
    num_cores: int


def read_processor() -> Reading:
    """Read all clocks now."""
    busy, stolen, num_cores = _cores()
    clocks = (time.perf_counter(), time.process_time(), time.thread_time())
    return Reading(*clocks, busy, stolen, num_cores)


def busy_between(
    before: Reading, after: Reading, num_threads: int, *, waits: bool = False
) -> BusyReport:
    """Apply the rule above to the time between two readings.

    Args:
        before: Read by the thread that was timed.
        after: Read by the same thread.
        num_threads: Threads that need a core all the time, at least 1.
        waits: Whether the calling thread may wait for other reasons than a busy CPU.
    """
    wall = after.wall - before.wall
    if before.busy is None or after.busy is None:
        lacks = max(0.0, wall - (after.own_thread - before.own_thread))
        return IDLE if waits else _judged(lacks, wall, lost=lacks, wanted=wall)
    stolen = max(0.0, after.stolen - before.stolen)
    others = max(0.0, after.busy - before.busy - (after.own - before.own))
    there, wanted = after.num_cores * wall, num_threads * wall
    lost = stolen + max(0.0, wanted + others - there)
    return _judged(others + stolen, there, lost=lost, wanted=wanted)


def busiest(reports: Iterable[BusyReport]) -> BusyReport:
    """Return the busiest of several reports; `IDLE` if there are none."""
    return max(reports, key=lambda report: (report.is_busy, report.other_share), default=IDLE)


def _judged(others: float, there: float, *, lost: float, wanted: float) -> BusyReport:
    share = min(1.0, others / there) if there > 0 else 0.0
    return BusyReport(share, others > LEAST_SECONDS and lost > MOST_LOST * wanted)


def _cores() -> tuple[float | None, float, int]:
    """Return the cores' busy and stolen seconds, and the number of cores."""
    count = os.cpu_count() or 1
    try:
        lines = _STAT.read_text(encoding="ascii").splitlines()
        tick = os.sysconf("SC_CLK_TCK")
        own = {f"cpu{core}" for core in os.sched_getaffinity(0)}
        rows = [line.split() for line in lines]
        cores = [[int(ticks) for ticks in row[1:9]] for row in rows if row and row[0] in own]
        if not cores:
            return None, 0.0, count
        # user, nice, system, irq and softirq; idle and iowait are free, guests are users
        busy = sum(core[0] + core[1] + core[2] + core[5] + core[6] for core in cores)
        return busy / tick, sum(core[7] for core in cores) / tick, len(cores)
    except (OSError, ValueError, IndexError, AttributeError):
        return None, 0.0, count
