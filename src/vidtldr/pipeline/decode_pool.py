"""The pool of decoder processes: which reads what, which crashed, which hangs."""

import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any

from vidtldr.pipeline.decode_worker import DecodeJob
from vidtldr.pipeline.messages import ClipDecoded, GrantSlot, ReadVideo, StillBusy, VideoRead
from vidtldr.pipeline.plan import Work
from vidtldr.pipeline.worker_process import WorkerProcess
from vidtldr.store.rows import FileState
from vidtldr.video.local_file import video_error

__all__ = ["DecodePool", "VideoLost"]

NUM_TRIES = 2  # a process can be killed through another's fault
_NUM_TASKS_AHEAD = 2
_GRACE_SECONDS = 5.0
_LOADING_SECONDS = 60.0  # a new process first imports its libraries
_MODULES = ("vidtldr.pipeline.decode_worker",)


@dataclass(frozen=True)
class VideoLost:
    """The decoder of this attempt died; the clips it delivered are discarded."""

    number: int


@dataclass
class _Decoder:
    process: WorkerProcess
    tasks: deque[ReadVideo] = field(default_factory=deque)
    slots: set[int] = field(default_factory=set)
    last_sign: float = field(default_factory=time.monotonic)


class DecodePool:
    """Reads files in worker processes; one that crashes or hangs is replaced.

    A file whose process crashes is retried once. A file that crashes its process twice, or once
    makes it silent for longer than the limit, fails.

    Args:
        num_workers: Number of processes.
        num_slots: Clips that fit into the shared memory.
        shared_file: File descriptor of that memory.
        stall_seconds: Silence after which a process that has work is killed.
    """

    def __init__(
        self, num_workers: int, num_slots: int, shared_file: int, stall_seconds: float
    ) -> None:
        self._shared_file = shared_file
        self._stall_seconds = stall_seconds + _GRACE_SECONDS
        self._decoders = [_Decoder(self._process()) for _ in range(num_workers)]
        self._free = deque(range(num_slots))
        self._job: DecodeJob | None = None
        self._waiting: deque[Work] = deque()
        self._works: dict[int, Work] = {}
        self._num_deaths: dict[str, int] = {}
        self._next_number = 0

    def start(self, job: DecodeJob) -> None:
        """Start the processes on their job."""
        self._job = job
        for decoder in self._decoders:
            self._begin(decoder)
        self._grant()
        self._distribute()

    def add(self, work: Work) -> None:
        """Queue a file to be read."""
        self._waiting.append(work)
        self._distribute()

    @property
    def num_waiting(self) -> int:
        """Number of files not yet handed to a process."""
        return len(self._waiting)

    @property
    def is_idle(self) -> bool:
        """Whether nothing is being read or queued."""
        return not self._waiting and not any(decoder.tasks for decoder in self._decoders)

    @property
    def connections(self) -> "list[Connection[Any, Any]]":
        """The connections to wait on."""
        return [decoder.process.connection for decoder in self._decoders]

    @property
    def pids(self) -> list[int]:
        """The process ids."""
        return [decoder.process.pid for decoder in self._decoders]

    def work_of(self, number: int) -> Work:
        """The file of an attempt."""
        return self._works[number]

    def free(self, slot: int) -> None:
        """Take back the slot of an encoded clip."""
        self._free.append(slot)
        self._grant()

    def receive(
        self, connection: "Connection[Any, Any]"
    ) -> Iterator[ClipDecoded | VideoRead | VideoLost]:
        """Receive a message from a process, and replace the process if it is dead."""
        decoder = next(each for each in self._decoders if each.process.connection is connection)
        try:
            message = connection.recv()
        except (EOFError, OSError):  # possibly in the middle of a message
            yield from self._bury(decoder)
            return
        decoder.last_sign = time.monotonic()
        if isinstance(message, StillBusy):
            return
        if isinstance(message, ClipDecoded):
            decoder.slots.discard(message.slot)
            self._grant()
        else:
            assert decoder.tasks[0].number == message.number
            decoder.tasks.popleft()
            self._distribute()
        yield message

    def kill_silent(self) -> Iterator[VideoLost | VideoRead]:
        """Kill and replace processes that have work and a free slot but are silent."""
        for decoder in self._decoders:
            silence = time.monotonic() - decoder.last_sign
            is_silent = silence > self._stall_seconds and not decoder.process.connection.poll()
            if decoder.tasks and decoder.slots and is_silent:
                reason = f"its decoder said nothing for {silence:.0f} seconds and was killed"
                yield from self._bury(decoder, reason)

    def close(self) -> None:
        """Kill all processes, and drop the files being read or queued."""
        self._job = None
        self._waiting.clear()
        for decoder in self._decoders:
            decoder.tasks.clear()
            decoder.process.kill()

    def _process(self) -> WorkerProcess:
        return WorkerProcess(self._shared_file, _MODULES, {"OMP_NUM_THREADS": "1"})

    def _begin(self, decoder: _Decoder) -> None:
        assert self._job is not None
        decoder.process.start(self._job)
        decoder.last_sign = time.monotonic() + _LOADING_SECONDS

    def _bury(
        self, decoder: _Decoder, stalled: str | None = None
    ) -> Iterator[VideoLost | VideoRead]:
        decoder.process.kill()
        reason = stalled or f"it ended its decoder {decoder.process.how_it_ended()}, twice"
        lost, decoder.tasks = list(decoder.tasks), deque()
        self._free.extend(sorted(decoder.slots))
        decoder.slots = set()
        yield from (VideoLost(task.number) for task in lost)
        for task in reversed(lost[1:]):  # not started yet
            self._waiting.appendleft(self._works.pop(task.number))
        for task in lost[:1]:
            num_deaths = self._num_deaths.get(task.path, 0) + 1
            self._num_deaths[task.path] = num_deaths
            if stalled is None and num_deaths < NUM_TRIES:
                self._waiting.appendleft(self._works.pop(task.number))
            else:
                error = video_error(
                    task.path, reason, "The file is damaged or hostile: look at it."
                )
                yield VideoRead(task.number, FileState.of(task.path), error=str(error))
        decoder.process = self._process()
        if self._job is not None:
            self._begin(decoder)
            self._grant()
            self._distribute()

    def _distribute(self) -> None:
        """Hand queued files to the least busy processes."""
        if self._job is None:
            return
        while self._waiting:
            decoder = min(self._decoders, key=lambda each: len(each.tasks))
            if len(decoder.tasks) >= _NUM_TASKS_AHEAD:
                return
            work = self._waiting.popleft()
            task = ReadVideo(self._next_number, work.path, work.known_sha256)
            self._next_number += 1
            self._works[task.number] = work
            if not decoder.tasks:
                decoder.last_sign = max(decoder.last_sign, time.monotonic())
            decoder.tasks.append(task)
            decoder.process.send(task)

    def _grant(self) -> None:
        """Grant free slots to the processes with the fewest, at most two each."""
        while self._free and self._job is not None:
            decoder = min(self._decoders, key=lambda each: len(each.slots))
            if len(decoder.slots) >= _NUM_TASKS_AHEAD:
                return
            if not decoder.slots:
                decoder.last_sign = max(decoder.last_sign, time.monotonic())
            slot = self._free.popleft()
            decoder.slots.add(slot)
            decoder.process.send(GrantSlot(slot))
