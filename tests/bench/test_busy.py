"""Busy processes: at work while they should be, and gone afterwards whatever happened."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from vidtldr.bench.busy_cores import available_cores, busy_cores
from vidtldr.bench.busy_rows import BUSY_ROWS
from vidtldr.bench.row import Settings

PATIENCE_SECONDS = 20.0
PROC = Path("/proc")


def is_there(pid: int) -> bool:
    """Whether a process lives; one that has ended and that nobody waited for counts as gone."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    stat = PROC / str(pid) / "stat"
    return not (stat.exists() and stat.read_text().rpartition(")")[2].split()[0] == "Z")


def all_end(pids: list[int]) -> bool:
    end = time.monotonic() + PATIENCE_SECONDS
    while any(map(is_there, pids)) and time.monotonic() < end:
        time.sleep(0.02)
    return not any(map(is_there, pids))


def test_they_are_gone_at_the_end() -> None:
    with busy_cores(available_cores()[:2]) as pids:
        assert pids
        assert all(map(is_there, pids))
    assert not any(map(is_there, pids))


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError, SystemExit])
def test_they_are_gone_after_an_error_and_after_ctrl_c(error: type[BaseException]) -> None:
    started: list[int] = []

    def stopped() -> None:
        with busy_cores(available_cores()[:1]) as pids:
            started.extend(pids)
            raise error

    with pytest.raises(error):
        stopped()
    assert started
    assert not any(map(is_there, started))


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="nothing can be pinned here")
def test_each_is_pinned_to_its_core_and_counts_there() -> None:
    cores = available_cores()
    with busy_cores(cores) as pids:
        assert [os.sched_getaffinity(pid) for pid in pids] == [{core} for core in cores]


@pytest.mark.skipif(os.name == "nt", reason="needs signals")
@pytest.mark.parametrize("signal_number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_they_end_with_the_program_however_that_ends(signal_number: int) -> None:
    script = (
        "import time\n"
        "from vidtldr.bench.busy_cores import available_cores, busy_cores\n"
        "with busy_cores(available_cores()[:1]) as pids:\n"
        "    print(*pids, flush=True)\n"
        "    time.sleep(60)\n"
    )
    program = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert program.stdout is not None
    pids = [int(word) for word in program.stdout.readline().split()]
    assert pids
    program.send_signal(signal_number)
    program.communicate(timeout=PATIENCE_SECONDS)
    assert all_end(pids)


def test_a_busy_process_that_has_ended_is_noticed() -> None:
    def ended_early() -> None:
        with busy_cores(available_cores()[:1]) as pids:
            os.kill(pids[0], signal.SIGKILL)
            assert all_end(list(pids))

    with pytest.raises(RuntimeError, match="busy processes must run until they are stopped, got 1"):
        ended_early()


@pytest.mark.parametrize("group", BUSY_ROWS.values(), ids=list(BUSY_ROWS))
def test_a_row_has_gains_quiet_and_busy_and_the_share_that_is_kept(group: object) -> None:
    assert callable(group)
    (row,) = group(Settings(num_rounds=2, num_warmups=1, tiny=True))
    assert set(row.figures) == {"quiet_gain", "busy_gain", "flop_reduction", "kept_share"}
    times = row.details["times_ms"]
    assert set(times) == {"quiet", "busy"}
    assert all(len(measured) == 2 for state in times.values() for measured in state.values())
    assert row.details["num_busy_processes"] == len(available_cores())
    gains = {s: [a / b for a, b in zip(*found.values(), strict=True)] for s, found in times.items()}
    shares = [busy / quiet for busy, quiet in zip(gains["busy"], gains["quiet"], strict=True)]
    assert row.figures["kept_share"]["median"] == pytest.approx(sum(shares) / 2)
