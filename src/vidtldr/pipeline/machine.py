"""The worker processes of one machine that turn files into rows, and their message loop.

Decoders (see `decode_worker`) and encoders (see `encode_worker`) exchange clips through shared
memory; its number of slots bounds how far decoding runs ahead.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from multiprocessing.connection import Connection, wait
from types import TracebackType
from typing import Any, Self

import torch

from vidtldr.pipeline.assembly import Assembly, Outcome
from vidtldr.pipeline.decode_pool import DecodePool, VideoLost
from vidtldr.pipeline.decode_worker import DecodeJob
from vidtldr.pipeline.encode_pool import EncodePool
from vidtldr.pipeline.encode_worker import EncodeJob
from vidtldr.pipeline.messages import ClipDecoded, EncoderReady, VideoRead
from vidtldr.pipeline.plan import Work
from vidtldr.pipeline.request import IndexRequest
from vidtldr.pipeline.shared_clips import ClipSlots, create_shared_file
from vidtldr.pipeline.stop_signal import StopSignal

__all__ = ["Machine", "default_batch_size", "visible_gpus"]

_TICK_SECONDS = 0.2
_SLOTS_A_DECODER = 2
_BATCHES_IN_MEMORY = 3
_BATCH_ON_GPU, _BATCH_ON_CPU = 32, 8


def visible_gpus() -> list[str | None]:
    """List the GPUs to encode on, named as in CUDA_VISIBLE_DEVICES; [None] for the CPU."""
    num_gpus = torch.cuda.device_count()
    names = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    return list((names or list(map(str, range(num_gpus))))[:num_gpus]) or [None]


def default_batch_size(*, on_gpu: bool) -> int:
    """Default number of clips per batch."""
    return _BATCH_ON_GPU if on_gpu else _BATCH_ON_CPU


class Machine:
    """Decoders and encoders, running from construction until `close`.

    Args:
        request: The model, and what to do with each file.
        gpus: GPUs to encode on, one encoder each, see `visible_gpus`; [None] for one encoder that
            sees the same devices as this process.

    Attributes:
        ready: The encoder's description of its model.

    Raises:
        Exception: Whatever loading the model raises.
        RuntimeError: If the encoder dies while loading.
        NotImplementedError: If the model has no fixed frame size.
    """

    def __init__(self, request: IndexRequest, gpus: Sequence[str | None]) -> None:
        num_cores = _num_cores()
        batch_size = request.batch_size or default_batch_size(on_gpu=gpus[0] is not None)
        # On a CPU, a lone decoder displaces one encoder thread, and the encoder's other cores idle
        # waiting for it. As many decoders as cores keep every core busy.
        num_workers = request.num_workers or (
            num_cores if gpus[0] is None else max(1, num_cores - 1)
        )
        num_slots = _SLOTS_A_DECODER * num_workers + _BATCHES_IN_MEMORY * batch_size * len(gpus)
        self._shared_file = create_shared_file()
        job = EncodeJob(request.load, request.keep_tokens, num_cores)
        self._decode: DecodePool | None = None
        self._encode = EncodePool(job, gpus, self._shared_file, batch_size)
        self._assembly = Assembly()
        try:
            self._decode = DecodePool(
                num_workers, num_slots, self._shared_file, request.time_limit_seconds
            )
            self.ready = self._encode.wait_until_ready()
            slots = ClipSlots(self._shared_file, num_slots, _clip_shape(self.ready))
            self._encode.start(slots)
            self._decode.start(
                DecodeJob(self.ready.reader, request.segment_seconds, slots, request.memory_bytes)
            )
        except BaseException:
            self.close()
            raise

    @property
    def encode_seconds(self) -> float:
        """Time that the encoders have taken so far."""
        return self._encode.encode_seconds

    @property
    def pids(self) -> list[int]:
        """The process ids, decoders first."""
        assert self._decode is not None
        return [*self._decode.pids, *self._encode.pids]

    def outcomes(
        self, works: Iterable[Work], stop: StopSignal | None = None
    ) -> Iterator[Outcome | None]:
        """Read and encode files.

        Args:
            works: The files.
            stop: Once this is given, files not yet decoded are dropped, and this machine can read
                no more.

        Yields:
            The outcome of each file, in no particular order, and None several times a second.

        Raises:
            Exception: The error that stopped the encoder.
        """
        decode, encode, assembly = self._decode, self._encode, self._assembly
        assert decode is not None
        for work in works:
            decode.add(work)
        is_stopping = False
        while not (decode.is_idle and encode.is_idle and assembly.is_empty):
            if stop is not None and stop.was_given and not is_stopping:
                is_stopping = True
                decode.close()
                assembly.forget(encode.drop(assembly.drop_unread()))
            connections = encode.connections + ([] if is_stopping else decode.connections)
            for connection in wait(connections, _TICK_SECONDS):
                assert isinstance(connection, Connection)
                yield from self._receive(connection, decode)
            if not is_stopping:
                yield from self._decoded(decode.kill_silent(), decode)
            yield None

    def close(self) -> None:
        """Kill all processes; a second call does nothing."""
        if self._shared_file < 0:
            return
        if self._decode is not None:
            self._decode.close()
        self._encode.close()
        os.close(self._shared_file)
        self._shared_file = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _receive(self, connection: "Connection[Any, Any]", decode: DecodePool) -> Iterator[Outcome]:
        if connection in decode.connections:
            yield from self._decoded(decode.receive(connection), decode)
        elif connection in self._encode.connections:
            for result in self._encode.receive(connection):
                yield from self._assembly.encoded(result)
                decode.free(result.slot)

    def _decoded(
        self, messages: Iterable[ClipDecoded | VideoRead | VideoLost], decode: DecodePool
    ) -> Iterator[Outcome]:
        for message in messages:
            if isinstance(message, VideoLost):
                self._assembly.lost(message.number)
                continue
            path = decode.work_of(message.number).path
            if isinstance(message, ClipDecoded):
                self._assembly.decoded(message, path)
                self._encode.add(message.slot)
            else:
                yield from self._assembly.read(message, path)


def _num_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _clip_shape(ready: EncoderReady) -> tuple[int, int, int, int]:
    size = ready.reader.transform.fixed_size
    if size is None:
        raise NotImplementedError(
            "model must take frames of one size, got one whose processor crops nothing. Use a "
            "model whose processor crops or squashes frames."
        )
    return (ready.reader.sampling.num_frames, 3, *size)
