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
    """A process of its own, started fresh, that inherits nothing but what it is given.

    It is no child of a fork, so it holds no lock of ours; it leaves Ctrl-C to us; and it ends when
    this process ends, however that happens.

    Args:
        shared_file: Descriptor of memory to share; -1 for none.
        modules: Loaded while the first message is under way.
        environment: Variables to change for it.

    Attributes:
        connection: What it says comes from here; a dead one gives EOFError.
    """

    def __init__(
        self,
        shared_file: int = -1,
        modules: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        ours, theirs = socket.socketpair()
        given = [file for file in (theirs.fileno(), shared_file) if file >= 0]
        # -P: a json.py in the working directory is not ours to run.
        command = [sys.executable, "-P", "-c", _CODE, json.dumps(sys.path)]
        arguments = [str(theirs.fileno()), str(os.getpid()), *modules]
        self._process = subprocess.Popen(
            [*command, *arguments],
            stdin=subprocess.PIPE,  # its end tells the worker of ours
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
        """Tell it what to do; a worker that is dead already shows at the next receiving."""
        self.send(job)

    def send(self, message: object) -> None:
        """Say something to it, if it still listens."""
        with suppress(BrokenPipeError, ConnectionResetError):
            self.connection.send(message)

    def kill(self) -> None:
        """End it at once and wait until it is gone."""
        self._process.kill()
        self._close()

    def end(self) -> None:
        """Let it finish what it does; it is not waited for longer than a few seconds."""
        self.connection.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
        self._close()

    def how_it_ended(self) -> str:
        """In words, of a worker that was seen dead."""
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
