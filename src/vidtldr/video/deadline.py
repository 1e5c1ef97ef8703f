"""Run work under a time limit, for C code that may never return."""

import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import TypeVar, cast

__all__ = ["OverTimeError", "StopFlag", "run_within"]

_T = TypeVar("_T")

# If Python exits while a thread is inside torch, the whole process dies by SIGABRT.
_SECONDS_TO_LEAVE = 1.0


class OverTimeError(Exception):
    """The work was told to stop."""


class StopFlag(threading.Event):
    """Tells the worker thread that its result is no longer wanted."""

    def check(self) -> None:
        """Abort the work if it was told to stop.

        Raises:
            OverTimeError: If it was.
        """
        if self.is_set():
            raise OverTimeError


def run_within(time_limit_seconds: float, work: Callable[[StopFlag], _T]) -> _T:
    """Run `work` in its own thread and give up on it at the time limit.

    The caller waits in Python, so Ctrl-C works at once. Work that is given up has one second to
    stop; if it hangs in C it is abandoned in its daemon thread, which does not keep the program
    alive.

    Args:
        time_limit_seconds: Time limit for the work, above 0; may be infinite.
        work: Called with a flag that it should `check` as often as it can.

    Returns:
        What `work` returns; its exceptions are raised here.

    Raises:
        OverTimeError: If the time limit is reached first.
    """
    stop = StopFlag()
    # Taken out of the queue, an error is not kept alive with all the pictures in its traceback.
    outcome: SimpleQueue[tuple[_T, None] | tuple[None, BaseException]] = SimpleQueue()

    def run() -> None:
        try:
            outcome.put((work(stop), None))
        except BaseException as error:
            outcome.put((None, error))

    thread = threading.Thread(target=run, name="vidtldr-decode", daemon=True)
    try:
        thread.start()
        result, error = outcome.get(timeout=min(time_limit_seconds, threading.TIMEOUT_MAX))
    except Empty:
        raise OverTimeError from None
    finally:
        stop.set()
        if thread.is_alive():
            thread.join(_SECONDS_TO_LEAVE)
    try:
        if error is not None:
            raise error
    finally:
        del error
    return cast(_T, result)
