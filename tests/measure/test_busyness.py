"""The rule is tested on made-up readings; the real clocks only in the direction that busy is seen,
as a test that wants an idle machine fails wherever tests run beside others.
"""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from vidtldr.measure import busyness
from vidtldr.measure.busyness import (
    IDLE,
    BusyReport,
    Reading,
    busiest,
    busy_between,
    read_processor,
)

START = Reading(wall=5, own=3, own_thread=2, busy=100, stolen=7, num_cores=4)


def after(*, wall: float, own: float, busy: float, stolen: float = 0) -> Reading:
    thread = START.own_thread + wall
    return Reading(5 + wall, 3 + own, thread, 100 + busy, 7 + stolen, 4)


@pytest.mark.parametrize(
    ("threads", "own", "busy", "share", "is_busy"),
    [
        (4, 8.0, 8.0, 0.0, False),  # alone on all four cores for two seconds
        (4, 6.0, 6.1, 0.0125, False),  # little runs on any machine
        (4, 4.0, 8.0, 0.5, True),  # a busy process beside on each core
        (4, 7.0, 8.0, 0.125, True),  # one on half a core of four that are wanted
        (2, 4.0, 8.0, 0.5, False),  # on the cores that two threads leave free
        (2, 3.0, 8.0, 0.625, True),
        (1, 2.0, 1.9, 0.0, False),  # ticks of the kernel are coarse
    ],
)
def test_others_make_a_machine_busy_where_they_take_cores_that_are_wanted(
    threads: int, own: float, busy: float, share: float, is_busy: bool
) -> None:
    report = busy_between(START, after(wall=2, own=own, busy=busy), threads)
    assert report.other_share == pytest.approx(share)
    assert report.is_busy is is_busy


def test_what_a_hypervisor_takes_is_taken_from_us() -> None:
    report = busy_between(START, after(wall=2, own=1.5, busy=1.5, stolen=0.5), 1)
    assert report == BusyReport(pytest.approx(0.0625), True)


def test_a_moment_is_too_short_for_the_kernels_clock() -> None:
    assert not busy_between(START, after(wall=0.01, own=0.01, busy=0.04), 4).is_busy
    assert busy_between(START, START, 4) == IDLE


@pytest.mark.parametrize(("thread", "share", "is_busy"), [(2.0, 0, False), (1.2, 0.4, True)])
def test_elsewhere_a_thread_that_is_kept_from_computing_tells(
    thread: float, share: float, is_busy: bool
) -> None:
    before = START._replace(busy=None)
    later = before._replace(wall=7, own=7, own_thread=2 + thread)
    assert busy_between(before, later, 4) == BusyReport(pytest.approx(share), is_busy)
    assert busy_between(before, later, 4, waits=True) == IDLE


@pytest.mark.parametrize("content", ["", "cpu 1 2", "cpu0 a b c d e f g h"])
def test_a_system_that_does_not_say_is_read_by_its_other_clocks(
    content: str, tmp_path: os.PathLike[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = busyness.Path(tmp_path) / "stat"
    monkeypatch.setattr(busyness, "_STAT", file)
    if content:
        file.write_text(content)
    assert read_processor().busy is None
    assert read_processor().num_cores >= 1


def test_the_warning_is_a_sentence_with_the_share_and_what_to_do() -> None:
    assert BusyReport(0.85, True).warning == (
        "other programs used 85 % of the processor while this was timed: do not trust the times; "
        "run it again on an idle machine"
    )
    assert IDLE.warning == ""
    assert BusyReport(0.25, True).to_dict() == {"machine_was_busy": True, "other_share": 0.25}


def test_of_several_reports_the_one_counts_that_casts_most_doubt() -> None:
    reports = [BusyReport(0.4, False), BusyReport(0.2, True), BusyReport(0.3, True)]
    assert busiest(reports) == BusyReport(0.3, True)
    assert busiest([]) == IDLE


@pytest.fixture
def burners() -> Iterator[None]:
    """A busy process for each core that this one may use, ended whatever happens."""
    if not hasattr(os, "sched_getaffinity"):
        pytest.skip("needs Linux")
    command = [sys.executable, "-c", "print(flush=True)\nwhile True: pass"]
    with ExitStack() as stack:
        for _ in os.sched_getaffinity(0):
            process = stack.enter_context(subprocess.Popen(command, stdout=subprocess.PIPE))
            stack.callback(process.kill)
            assert process.stdout is not None
            process.stdout.readline()  # it runs
        yield


@pytest.mark.usefixtures("burners")
def test_busy_programs_are_seen() -> None:
    before = read_processor()
    end = before.wall + 1
    while time.perf_counter() < end:
        pass
    report = busy_between(before, read_processor(), before.num_cores)
    assert report.is_busy
    assert 0.2 < report.other_share <= 1
