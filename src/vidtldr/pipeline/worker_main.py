"""Entry point of a worker process, which makes sure that it ends with its parent."""

import ctypes
import importlib
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

__all__ = ["Job", "main"]

#: The first message to a worker: the job it runs until its parent closes the connection.
Job = Callable[["Connection[Any, Any]"], None]

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Run the job the parent sends; argv: file descriptor, parent's pid, modules to import."""
    descriptor, parent, *modules = sys.argv[1:]
    _die_with_parent(int(parent))
    for signal_number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signal_number, signal.SIG_IGN)  # the parent decides when to stop
    for module in modules:
        importlib.import_module(module)
    connection: Connection[Any, Any] = Connection(int(descriptor))
    code = 0
    try:
        job: Job = connection.recv()
        job(connection)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        pass  # the parent is gone or needs no more
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # does not wait for threads: a decoder may hang in one


def _die_with_parent(parent: int) -> None:
    """Exit when the parent does, even if it is killed: by a death signal or a closed stdin."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    threading.Thread(target=_wait_for_end_of_stdin, daemon=True).start()
    if os.getppid() != parent:  # the parent died before the death signal was set
        os._exit(1)


def _wait_for_end_of_stdin() -> None:
    while os.read(0, 1):
        pass
    os._exit(1)
