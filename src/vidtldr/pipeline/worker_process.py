"""Start a worker process and talk to it: the parent's side."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any

from vidtldr.pipeline.worker_main import Job

__all__ = ["WorkerProcess"]

_CODE = (
    "import json, sys; sys.path[:] = json.loads(sys.argv.pop(1)); "
    "from vidtldr.pipeline.worker_main import main; main()"
)


class WorkerProcess:
    """A freshly started process that inherits only what it is given.

    It is not forked, so it holds none of this process's locks. It ignores Ctrl-C, and it ends when
    this process ends, however that happens.

    Args:
        shared_file: File descriptor of memory to share; -1 for none.
        modules: Modules to import before the first message is read.
        environment: Environment variables to set or override.

    Attributes:
        connection: Connection to the worker; raises EOFError if it is dead.
    """

    def __init__(
        self,
        shared_file: int = -1,
        modules: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        ours, theirs = socket.socketpair()
        given = [file for file in (theirs.fileno(), shared_file) if file >= 0]
        # -P: never import a json.py from the working directory.
        command = [sys.executable, "-P", "-c", _CODE, json.dumps(sys.path)]
        arguments = [str(theirs.fileno()), str(os.getpid()), *modules]
        self._process = subprocess.Popen(
            [*command, *arguments],
            stdin=subprocess.PIPE,  # its closing tells the worker that we ended
            pass_fds=given,
            env={**os.environ, **(environment or {})},
            start_new_session=True,
        )
        theirs.close()
        self.connection: Connection[Any, Any] = Connection(ours.detach())

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def start(self, job: Job) -> None:
        """Send the worker its job; if it is already dead, the next receive shows it."""
        self.send(job)

    def send(self, message: object) -> None:
        """Send a message to the worker, if it is still alive."""
        with suppress(BrokenPipeError, ConnectionResetError):
            self.connection.send(message)

    def kill(self) -> None:
        """Kill the worker and wait until it is gone."""
        self._process.kill()
        self._close()

    def end(self) -> None:
        """Let the worker finish its work, for up to 5 seconds, then kill it."""
        self.connection.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
        self._close()

    def how_it_ended(self) -> str:
        """Describe how a dead worker ended."""
        code = self._process.wait()
        if code >= 0:
            return f"with exit code {code}"
        try:
            return f"by signal {signal.Signals(-code).name}"
        except ValueError:
            return f"by signal {-code}"

    def _close(self) -> None:
        self._process.wait()
        self.connection.close()
        assert self._process.stdin is not None
        self._process.stdin.close()
