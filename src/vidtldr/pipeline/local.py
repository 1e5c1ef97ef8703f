"""Index many videos on one machine: read, encode and write at the same time."""

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from vidtldr.pipeline.machine import Machine, visible_gpus
from vidtldr.pipeline.request import IndexRequest, Progress, RunReport
from vidtldr.pipeline.run_log import RunLog
from vidtldr.pipeline.stop_signal import StopSignal
from vidtldr.store.index_writer import IndexWriter
from vidtldr.store.rows import FailureRow
from vidtldr.store.writer_lock import refuse_if_locked

__all__ = ["index_videos"]


def index_videos(
    directory: str | os.PathLike[str],
    files: Sequence[str],
    request: IndexRequest,
    *,
    gpus: Sequence[str | None] | None = None,
    on_progress: Callable[[Progress], object] = lambda _: None,
    on_failure: Callable[[FailureRow], object] = lambda _: None,
) -> RunReport:
    """Bring an index up to date with some files; it is made if it is not there.

    Files that are there unchanged are skipped, changed ones replaced, and files that failed left
    alone until they change. Rows of a video appear together, in commits of many videos; a run that
    is killed loses one commit's worth of work, and the next goes on from there. Ctrl-C and SIGTERM
    finish what is decoded and return; a second one raises KeyboardInterrupt.

    Args:
        directory: Of the index.
        files: Absolute paths, see `discover`.
        request: The model, and what to do with each file.
        gpus: One encoder for each; see `visible_gpus`, which is the default.
        on_progress: Called several times a second.
        on_failure: Called for every file that fails.

    Raises:
        ValueError: If the index was made with something else; whatever loading the model raises.
        BlockingIOError: If another process writes the index.
        OSError: If it cannot be written; what was committed stays.
        RuntimeError: If the encoder does not stay alive.
        ImportError: If LanceDB is not installed.
    """
    refuse_if_locked(Path(directory))
    with Machine(request, visible_gpus() if gpus is None else gpus) as machine:
        sys.stderr.write(machine.ready.said)
        settings = request.settings(machine.ready)
        with StopSignal() as stop, IndexWriter(directory, settings) as writer:
            log = RunLog(writer, files, request.retry_failed, on_progress, on_failure)
            for outcome in machine.outcomes(log.plan.work, stop):
                log.add(outcome)
            return log.finish(machine.encode_seconds, was_stopped=stop.was_given)
