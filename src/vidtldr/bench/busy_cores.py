"""Processes that keep one core each busy, like other programs on a shared machine."""

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

__all__ = ["available_cores", "busy_cores"]

# It exits by itself when its parent process has ended, for whatever reason.
_LOOP = """
import os, sys
parent, core = int(sys.argv[1]), int(sys.argv[2])
if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, {core})
print("busy", flush=True)
while os.getppid() == parent:
    for _ in range(100_000):
        pass
"""


def available_cores() -> tuple[int, ...]:
    """Return the cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return tuple(sorted(os.sched_getaffinity(0)))
    return tuple(range(os.cpu_count() or 1))


@contextmanager
def busy_cores(cores: Sequence[int]) -> Iterator[tuple[int, ...]]:
    """Keep one process spinning on each core, pinned to it if the system allows.

    The processes are ended on exit, also after Ctrl-C or an error.

    Args:
        cores: Core numbers from `available_cores`.

    Yields:
        The process ids, once all are spinning.

    Raises:
        RuntimeError: If a process does not start or ends early.
    """
    processes: list[subprocess.Popen[str]] = []
    try:
        for core in cores:
            processes.append(_start(core))
        for process in processes:
            assert process.stdout is not None
            process.stdout.readline()
        _validate_running(processes)
        yield tuple(process.pid for process in processes)
        _validate_running(processes)
    finally:
        for process in processes:
            process.kill()
        for process in processes:
            process.communicate()  # waits, and closes the pipe


def _start(core: int) -> subprocess.Popen[str]:
    """Start it in its own session, so that we end it on Ctrl-C, without a traceback."""
    command = [sys.executable, "-I", "-S", "-c", _LOOP, str(os.getpid()), str(core)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)


def _validate_running(processes: Sequence[subprocess.Popen[str]]) -> None:
    ended = [process for process in processes if process.poll() is not None]
    if ended:
        raise RuntimeError(
            f"busy processes must run until they are stopped, got {len(ended)} of "
            f"{len(processes)} ended (exit code {ended[0].returncode}). Free some memory or "
            "process slots and try again."
        )
