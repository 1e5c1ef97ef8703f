"""Index many videos on one machine: read, encode and write at the same time.

This process holds the index's lock and decides; others decode (see `decode_worker`) and encode (see
`encode_worker`). Clips lie in memory that they share, in a number of slots that bounds how far
reading runs ahead. All messages pass through one loop.
"""

import os
import time
from collections.abc import Callable, Iterable, Sequence
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import torch

from vidtldr.pipeline.assembly import Assembly, Outcome
from vidtldr.pipeline.commits import Commits
from vidtldr.pipeline.decode_pool import DecodePool, VideoLost
from vidtldr.pipeline.decode_worker import DecodeJob
from vidtldr.pipeline.encode_pool import EncodePool
from vidtldr.pipeline.encode_worker import EncodeJob
from vidtldr.pipeline.messages import ClipDecoded, EncoderReady, VideoRead
from vidtldr.pipeline.plan import Plan, plan_work
from vidtldr.pipeline.request import IndexRequest, Progress, RunReport
from vidtldr.pipeline.shared_clips import ClipSlots, create_shared_file
from vidtldr.pipeline.stop_signal import StopSignal
from vidtldr.store.index_writer import IndexWriter
from vidtldr.store.rows import FailureRow
from vidtldr.store.video_index import VideoIndex

__all__ = ["index_videos", "visible_gpus"]

_TICK_SECONDS = 0.2
_SLOTS_A_DECODER = 2
_BATCHES_IN_MEMORY = 3


def visible_gpus() -> list[str | None]:
    """The GPUs to encode on, by what CUDA_VISIBLE_DEVICES calls them; [None] for the CPU."""
    num_gpus = torch.cuda.device_count()
    names = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    return list((names or list(map(str, range(num_gpus))))[:num_gpus]) or [None]


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
    gpus = visible_gpus() if gpus is None else gpus
    on_cpu = gpus[0] is None
    batch_size = request.batch_size or (8 if on_cpu else 32)
    num_cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    num_workers = request.num_workers or max(1, (num_cores or 2) - 1)
    num_slots = _SLOTS_A_DECODER * num_workers + _BATCHES_IN_MEMORY * batch_size * len(gpus)
    shared_file = create_shared_file()
    job = EncodeJob(request.load, request.keep_tokens, num_cores or 1)
    decode: DecodePool | None = None
    encode = EncodePool(job, gpus, shared_file, batch_size)
    try:
        decode = DecodePool(num_workers, num_slots, shared_file, request.time_limit_seconds)
        ready = encode.wait_until_ready()
        settings = request.settings(ready.num_channels, ready.identity, ready.has_tokens)
        with IndexWriter(directory, settings) as writer:
            run = _Run(writer, files, request, decode, encode, on_progress, on_failure)
            return run.run(ready, ClipSlots(shared_file, num_slots, _clip_shape(ready)))
    finally:
        if decode is not None:
            decode.close()
        encode.close()
        os.close(shared_file)


class _Run:
    """One run: hands messages on until every file has an outcome."""

    def __init__(
        self,
        writer: IndexWriter,
        files: Sequence[str],
        request: IndexRequest,
        decode: DecodePool,
        encode: EncodePool,
        on_progress: Callable[[Progress], object],
        on_failure: Callable[[FailureRow], object],
    ) -> None:
        self._writer, self._files, self._request = writer, files, request
        self._decode, self._encode = decode, encode
        self._on_progress, self._on_failure = on_progress, on_failure
        self._assembly = Assembly()
        self._commits = Commits(writer)
        self._num_done = self._num_failed = 0

    def run(self, ready: EncoderReady, slots: ClipSlots) -> RunReport:
        start = time.perf_counter()
        plan = _plan(self._writer.directory, self._files, self._request.retry_failed)
        num_files = len(plan.work)
        self._encode.start(slots)
        self._decode.start(
            DecodeJob(
                ready.reader, self._request.segment_seconds, slots, self._request.memory_bytes
            )
        )
        for work in plan.work:
            self._decode.add(work)
        with StopSignal() as stop:
            self._until_idle(stop, num_files)
            self._commits.commit()
            if num_files:
                self._writer.compact()
        return RunReport(
            num_files=len(self._files),
            num_indexed=self._commits.num_videos,
            num_rows=self._commits.num_rows,
            num_unchanged=plan.num_unchanged + self._commits.num_unchanged,
            num_failed=self._commits.num_failures,
            num_failed_before=plan.num_failed_before,
            seconds=time.perf_counter() - start,
            encode_seconds=self._encode.encode_seconds,
            was_interrupted=stop.was_given and self._num_done < num_files,
        )

    def _until_idle(self, stop: StopSignal, num_files: int) -> None:
        is_stopping = False
        while not (self._decode.is_idle and self._encode.is_idle and self._assembly.is_empty):
            if stop.was_given and not is_stopping:
                is_stopping = True
                self._stop_reading()
                continue
            connections = self._encode.connections
            if not is_stopping:
                connections += self._decode.connections
            for connection in wait(connections, _TICK_SECONDS):
                assert isinstance(connection, Connection)
                self._receive(connection)
            if not is_stopping:
                self._decoded(self._decode.kill_silent())
            self._commits.commit_if_due()
            self._report(num_files)

    def _receive(self, connection: "Connection[Any, Any]") -> None:
        if connection in self._decode.connections:
            self._decoded(self._decode.receive(connection))
        elif connection in self._encode.connections:
            for result in self._encode.receive(connection):
                outcomes = list(self._assembly.encoded(result))
                self._decode.free(result.slot)
                self._finish(outcomes)

    def _decoded(self, messages: Iterable[ClipDecoded | VideoRead | VideoLost]) -> None:
        for message in messages:
            if isinstance(message, VideoLost):
                self._assembly.lost(message.number)
                continue
            path = self._decode.work_of(message.number).path
            if isinstance(message, ClipDecoded):
                self._assembly.decoded(message, path)
                self._encode.add(message.slot)
            else:
                self._finish(self._assembly.read(message, path))

    def _finish(self, outcomes: Iterable[Outcome]) -> None:
        for outcome in outcomes:
            self._num_done += 1
            if isinstance(outcome, FailureRow):
                self._num_failed += 1
                self._on_failure(outcome)
            self._commits.add(outcome)

    def _stop_reading(self) -> None:
        """Let go of files that are not decoded to their end."""
        self._decode.close()
        dropped = self._encode.drop(self._assembly.drop_unread())
        self._assembly.forget(dropped)

    def _report(self, num_files: int) -> None:
        self._on_progress(
            Progress(num_files, self._num_done, self._num_failed, self._commits.num_rows)
        )


def _plan(directory: Path, files: Sequence[str], retry_failed: bool) -> Plan:
    index = VideoIndex(directory)
    return plan_work(files, index.known_files(), index.failures(), retry_failed=retry_failed)


def _clip_shape(ready: EncoderReady) -> tuple[int, int, int, int]:
    size = ready.reader.transform.fixed_size
    if size is None:
        raise NotImplementedError(
            "model must take frames of one size, got one whose processor crops nothing. Use a "
            "model whose processor crops or squashes frames."
        )
    return (ready.reader.sampling.num_frames, 3, *size)
