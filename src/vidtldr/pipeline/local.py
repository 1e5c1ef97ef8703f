"""Index many videos on one machine, with reading, encoding and writing in parallel."""

import os
import sys
from collections.abc import Callable, Sequence

from vidtldr.pipeline.machine import Machine, visible_gpus
from vidtldr.pipeline.request import IndexRequest, Progress, RunReport
from vidtldr.pipeline.run_log import RunLog
from vidtldr.pipeline.stop_signal import StopSignal
from vidtldr.store.index_writer import IndexWriter
from vidtldr.store.lance import validate_directory
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
    """Bring an index up to date with some files; it is created if missing.

    Unchanged files are skipped, changed ones re-indexed, and files that failed are not retried
    until they change, unless the request asks for it. All rows of a video appear together, in
    commits of many videos; a killed run loses at most one commit's worth of work, and the next run
    resumes from there. On Ctrl-C or SIGTERM, videos already decoded are finished before returning;
    a second signal raises KeyboardInterrupt.

    Args:
        directory: The index's directory.
        files: Absolute paths, see `discover`.
        request: The model, and what to do with each file.
        gpus: GPUs to encode on, one encoder each; `visible_gpus()` by default.
        on_progress: Called several times a second.
        on_failure: Called for every file that fails.

    Raises:
        ValueError: If the index was made with other settings, or `directory` is an address;
            whatever loading the model raises.
        BlockingIOError: If another process is writing to the index.
        OSError: If the index cannot be written to; earlier commits are kept.
        RuntimeError: If the encoder does not stay alive.
        ImportError: If LanceDB is not installed.
    """
    refuse_if_locked(validate_directory(directory))
    with Machine(request, visible_gpus() if gpus is None else gpus) as machine:
        sys.stderr.write(machine.ready.said)
        settings = request.settings(machine.ready)
        with StopSignal() as stop, IndexWriter(directory, settings) as writer:
            log = RunLog(writer, files, request.retry_failed, on_progress, on_failure)
            for outcome in machine.outcomes(log.plan.work, stop):
                log.add(outcome)
            return log.finish(machine.encode_seconds, was_stopped=stop.was_given)
