"""Work under a time limit, for C code that may never return."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

__all__ = ["OverTimeError", "StopFlag", "run_within"]

_T = TypeVar("_T")

# Torch ends the whole process, by SIGABRT, if Python ends while a thread is inside it.
_SECONDS_TO_LEAVE = 1.0


class OverTimeError(Exception):
    """The work was told to stop."""


class StopFlag(threading.Event):
    """Tells the worker that nobody waits for it any more."""

    def check(self) -> None:
        """Leave the work if it was told to stop.

        Raises:
            OverTimeError: If it was.
        """
        if self.is_set():
            raise OverTimeError


def run_within(time_limit_seconds: float, work: Callable[[StopFlag], _T]) -> _T:
    """Run `work` in a thread of its own and give up on it when its time is over.

    The caller sleeps in Python, so Ctrl-C works at once. Work that nobody waits for any more has a
    second to leave; if it hangs in C it is abandoned: its thread is a daemon and keeps no program
    alive.

    Args:
        time_limit_seconds: Time for the work, above 0; may be infinite.
        work: Is given a flag to `check` as often as it can.

    Returns:
        What `work` returns; what it raises is raised here.

    Raises:
        OverTimeError: If the time is over first.
    """
    stop = StopFlag()
    outcome: Future[_T] = Future()

    def run() -> None:
        try:
            outcome.set_result(work(stop))
        except BaseException as error:
            outcome.set_exception(error)

    thread = threading.Thread(target=run, name="vidtldr-decode", daemon=True)
    try:
        thread.start()
        return outcome.result(min(time_limit_seconds, threading.TIMEOUT_MAX))
    except TimeoutError:
        if outcome.done():  # the work's own: a network disk can time out, too
            raise
        raise OverTimeError from None
    finally:
        stop.set()
        if thread.is_alive():
            thread.join(_SECONDS_TO_LEAVE)
