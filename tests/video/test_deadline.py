"""Work under a time limit, and how a program ends that gives it up."""

import subprocess
import sys

import pytest

from vidtldr.video.deadline import OverTimeError, StopFlag, run_within

# Sorting without the interpreter's lock: Ctrl-C all but surely comes while torch has the thread.
_INTERRUPTED_IN_TORCH = """
import os, signal, sys, threading
import torch
from vidtldr.video.deadline import run_within

signal.signal(signal.SIGINT, signal.default_int_handler)

def work(stop):
    numbers = torch.rand(500_000)
    threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)).start()
    while True:
        stop.check()
        numbers.sort()

try:
    run_within(60, work)
except KeyboardInterrupt:
    sys.exit(130)
"""

_HANGS = """
import threading
from vidtldr.video.deadline import OverTimeError, run_within

try:
    run_within(0.01, lambda stop: threading.Event().wait())
except OverTimeError:
    print("given up")
"""


def test_the_outcome_is_that_of_the_work() -> None:
    assert run_within(60, lambda stop: not stop.is_set())
    with pytest.raises(TimeoutError, match="of a disk"):
        run_within(60, _fails)


def _fails(stop: StopFlag) -> None:
    raise TimeoutError("of a disk")


def test_work_is_told_to_stop_and_has_left_before_the_caller_goes_on() -> None:
    seen = []

    def work(stop: StopFlag) -> None:
        stop.wait()
        seen.append(stop.is_set())

    with pytest.raises(OverTimeError):
        run_within(0.01, work)
    assert seen == [True]


@pytest.mark.parametrize(
    ("program", "exit_code", "stdout"), [(_INTERRUPTED_IN_TORCH, 130, ""), (_HANGS, 0, "given up")]
)
def test_the_program_ends_well(program: str, exit_code: int, stdout: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stdout.strip(), done.stderr) == (exit_code, stdout, "")
