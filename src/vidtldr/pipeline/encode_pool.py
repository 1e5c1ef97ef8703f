"""The pool of encoder processes: one per GPU, or one on a CPU.

Letters: `C` channels of a vector, `N` tokens.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vidtldr.pipeline.encode_worker import EncodeJob
from vidtldr.pipeline.messages import EncodeClips, EncoderReady, EncodingFailed, VectorsEncoded
from vidtldr.pipeline.shared_clips import ClipSlots
from vidtldr.pipeline.worker_process import WorkerProcess
from vidtldr.store.rows import KeptTokens

__all__ = ["ClipEncoded", "EncodePool"]

_NUM_BATCHES_AHEAD = 2
_NUM_TRIES = 2
_MAX_DEATHS_IN_A_ROW = 5
_MODULES = ("vidtldr.pipeline.encode_worker",)


@dataclass(frozen=True, eq=False)
class ClipEncoded:
    """A clip's vector, or its failure: it killed the encoder twice while alone in a batch.

    Attributes:
        slot: Slot of the clip.
        vector: Shape (C,), float32; None if it failed.
        tokens: Its tokens; None if not wanted.
    """

    slot: int
    vector: NDArray[np.float32] | None
    tokens: KeptTokens | None = None


@dataclass
class _Encoder:
    process: WorkerProcess
    gpu: str | None
    batches: deque[EncodeClips] = field(default_factory=deque)
    ready: EncoderReady | None = None


class EncodePool:
    """Encodes clips in shared memory; an encoder that dies is replaced.

    Its clips are still in shared memory, so they are encoded again: those of the batch that killed
    it one by one.

    Args:
        job: Job of each encoder.
        gpus: The GPU that each encoder sees; a single None for a CPU.
        shared_file: File descriptor of the shared memory.
        batch_size: Clips per batch.

    Attributes:
        encode_seconds: Time that the encoders took.
    """

    def __init__(
        self, job: EncodeJob, gpus: Sequence[str | None], shared_file: int, batch_size: int
    ) -> None:
        self._job, self._shared_file, self._batch_size = job, shared_file, batch_size
        self._slots: ClipSlots | None = None
        self._encoders = [_Encoder(self._process(gpu), gpu) for gpu in gpus]
        self._waiting: deque[int] = deque()
        self._alone: deque[int] = deque()
        self._num_deaths: dict[int, int] = {}
        self._deaths_in_a_row = 0
        self._next_number = 0
        self.encode_seconds = 0.0

    def wait_until_ready(self) -> EncoderReady:
        """Wait for the first encoder to load its model.

        Raises:
            Exception: Whatever loading the model raised.
            RuntimeError: If the process died.
        """
        encoder = self._encoders[0]
        while encoder.ready is None:
            list(self.receive(encoder.process.connection))
        return encoder.ready

    def start(self, slots: ClipSlots) -> None:
        """Tell the encoders where the clips are."""
        self._slots = slots
        for encoder in self._encoders:
            encoder.process.send(slots)

    def add(self, slot: int) -> None:
        """Queue the clip in a slot for encoding."""
        self._waiting.append(slot)
        self._distribute()

    def drop(self, slots: set[int]) -> set[int]:
        """Drop queued clips that no encoder has yet; returns their slots."""
        dropped = slots & set(self._waiting)
        self._waiting = deque(slot for slot in self._waiting if slot not in dropped)
        return dropped

    @property
    def is_idle(self) -> bool:
        """Whether nothing is being encoded or queued."""
        waits = self._waiting or self._alone
        return not waits and not any(encoder.batches for encoder in self._encoders)

    @property
    def connections(self) -> "list[Connection[Any, Any]]":
        """The connections to wait on."""
        return [encoder.process.connection for encoder in self._encoders]

    @property
    def pids(self) -> list[int]:
        """The process ids."""
        return [encoder.process.pid for encoder in self._encoders]

    def receive(self, connection: "Connection[Any, Any]") -> Iterator[ClipEncoded]:
        """Receive a message from an encoder, and replace the encoder if it is dead.

        Raises:
            Exception: The error that stopped the encoder.
            RuntimeError: If encoders keep dying.
        """
        encoder = next(each for each in self._encoders if each.process.connection is connection)
        try:
            message = connection.recv()
        except (EOFError, OSError):  # possibly in the middle of a message
            yield from self._bury(encoder)
            return
        if isinstance(message, EncodingFailed):
            raise message.error
        if isinstance(message, EncoderReady):
            encoder.ready = message
            self._distribute()
            return
        assert isinstance(message, VectorsEncoded)
        self._deaths_in_a_row = 0
        batch = encoder.batches.popleft()
        assert batch.number == message.number
        self.encode_seconds += message.seconds
        self._distribute()
        for place, slot in enumerate(batch.slots):
            self._num_deaths.pop(slot, None)
            tokens = None if message.tokens is None else message.tokens[place]
            yield ClipEncoded(slot, message.vectors[place], tokens)

    def close(self) -> None:
        """Kill all encoders."""
        for encoder in self._encoders:
            encoder.process.kill()

    def _process(self, gpu: str | None) -> WorkerProcess:
        environment = {} if gpu is None else {"CUDA_VISIBLE_DEVICES": gpu}
        process = WorkerProcess(self._shared_file, _MODULES, environment)
        process.start(self._job)
        if self._slots is not None:
            process.send(self._slots)
        return process

    def _bury(self, encoder: _Encoder) -> Iterator[ClipEncoded]:
        encoder.process.kill()
        self._deaths_in_a_row += 1
        how = encoder.process.how_it_ended()
        gave_up = encoder.ready is None and how.startswith("with")  # not killed by a signal
        if gave_up or self._deaths_in_a_row > _MAX_DEATHS_IN_A_ROW:
            what = "loaded the model" if encoder.ready is None else "encoded"
            raise RuntimeError(
                f"an encoder must stay alive, got one that ended {how} while it {what}. It may "
                "lack memory: lower the batch size."
            )
        batches, encoder.batches = list(encoder.batches), deque()
        for batch in reversed(batches[1:]):  # not started yet
            self._waiting.extendleft(reversed(batch.slots))
        for slot in batches[0].slots if batches else ():
            self._num_deaths[slot] = self._num_deaths.get(slot, 0) + 1
            if self._num_deaths[slot] > _NUM_TRIES:
                del self._num_deaths[slot]
                yield ClipEncoded(slot, None)
            else:
                self._alone.append(slot)
        encoder.ready = None
        encoder.process = self._process(encoder.gpu)
        self._distribute()

    def _distribute(self) -> None:
        """Hand batches to the least busy encoders, and partial ones only to idle encoders."""
        while self._slots is not None and (self._waiting or self._alone):
            encoder = min(self._encoders, key=lambda each: len(each.batches))
            is_full = len(self._waiting) >= self._batch_size
            num_ahead = _NUM_BATCHES_AHEAD if is_full and not self._alone else 1
            if len(encoder.batches) >= num_ahead:
                return
            if self._alone:
                slots: tuple[int, ...] = (self._alone.popleft(),)
            else:
                num = min(self._batch_size, len(self._waiting))
                slots = tuple(self._waiting.popleft() for _ in range(num))
            batch = EncodeClips(self._next_number, slots)
            self._next_number += 1
            encoder.batches.append(batch)
            encoder.process.send(batch)
