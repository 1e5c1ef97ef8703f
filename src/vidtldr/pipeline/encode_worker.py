"""Make vectors of clips in a process of its own: one for each GPU, or one on a CPU.

Letters: `B` clips of a batch, `T` frames, `h` and `w` a frame, `C` channels, `N` tokens.
"""

import io
import sys
import time
from collections.abc import Callable
from contextlib import redirect_stderr
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vidtldr.models.umt.vision import VideoTokens
from vidtldr.pipeline.messages import EncodeClips, EncoderReady, EncodingFailed, VectorsEncoded
from vidtldr.pipeline.shared_clips import ClipSlots
from vidtldr.store.rows import KeptTokens
from vidtldr.tasks.embed import Embedder

__all__ = ["EncodeJob", "encode_batch", "load_and_describe"]


@dataclass(frozen=True)
class EncodeJob:
    """The job of an encoder: it loads the model, says what it is, and encodes.

    Attributes:
        load: Makes the embedder; it travels to the process, so it must be picklable.
        keep_tokens: Whether tokens are wanted beside vectors.
        num_threads: Threads of a CPU that it may use.
    """

    load: Callable[[], Embedder]
    keep_tokens: bool
    num_threads: int

    def __call__(self, connection: "Connection[Any, Any]") -> None:
        """Encode batches until the connection closes."""
        torch.set_num_threads(self.num_threads)
        try:
            embedder, ready = load_and_describe(self.load)
            connection.send(ready)
            self._encode(connection, embedder)
        except (EOFError, BrokenPipeError, ConnectionResetError):
            raise
        except Exception as error:  # the parent raises it
            connection.send(EncodingFailed(_picklable(error)))

    def _encode(self, connection: "Connection[Any, Any]", embedder: Embedder) -> None:
        slots: ClipSlots = connection.recv()
        clips = slots.map()
        while True:
            task: EncodeClips = connection.recv()
            start = time.perf_counter()
            x = clips[list(task.slots)]  # a copy: the slots are free once we answer
            vectors, tokens = encode_batch(embedder, x, self.keep_tokens)
            seconds = time.perf_counter() - start
            connection.send(VectorsEncoded(task.number, vectors, tokens, seconds))


def load_and_describe(load: Callable[[], Embedder]) -> tuple[Embedder, EncoderReady]:
    """Load a model and say what it is.

    Raises:
        Exception: What the loading raised; what it wrote to stderr is there then.
    """
    said = io.StringIO()
    try:
        with redirect_stderr(said):
            embedder = load()
    except BaseException:
        sys.stderr.write(said.getvalue())
        raise
    has_tokens = embedder.encode_with_tokens is not None
    about = (embedder.reader, embedder.num_channels, embedder.identity(), has_tokens)
    return embedder, EncoderReady(*about, embedder.device.type, said.getvalue())


def encode_batch(
    embedder: Embedder, x: Tensor, keep_tokens: bool = False
) -> tuple[NDArray[np.float32], list[KeptTokens] | None]:
    """Encode clips; where a GPU has no room for all, in halves.

    Args:
        embedder: The model.
        x: Resized clips, uint8, shape (B, T, 3, h, w).
        keep_tokens: Whether tokens are wanted.

    Returns:
        Vectors (B, C), and the tokens of each clip, or None.
    """
    try:
        return _encode_once(embedder, x, keep_tokens)
    except torch.cuda.OutOfMemoryError:
        if len(x) == 1:
            raise
        torch.cuda.empty_cache()
    half = len(x) // 2
    parts = [encode_batch(embedder, part, keep_tokens) for part in (x[:half], x[half:])]
    tokens = [each for _, some in parts for each in some or ()]
    return np.concatenate([vectors for vectors, _ in parts]), tokens if keep_tokens else None


def _encode_once(
    embedder: Embedder, x: Tensor, keep_tokens: bool
) -> tuple[NDArray[np.float32], list[KeptTokens] | None]:
    if embedder.device.type == "cuda":
        x = x.pin_memory().to(embedder.device, non_blocking=True)
    pixels = embedder.reader.transform.normalised(x)
    if not keep_tokens:
        return embedder.encode(pixels).numpy(), None
    assert embedder.encode_with_tokens is not None  # checked when the run began
    vectors, tokens = embedder.encode_with_tokens(pixels)
    return vectors.numpy(), [_kept(each) for each in tokens]


def _kept(tokens: VideoTokens) -> KeptTokens:
    x = tokens.x.half().cpu().numpy()
    return KeptTokens(x, None if tokens.mass is None else tokens.mass.float().cpu().numpy())


def _picklable(error: Exception) -> Exception:
    """The error as its plain kind, so that the parent words it as its own."""
    for kind in (
        ImportError,
        NotImplementedError,
        FileNotFoundError,
        OSError,
        TypeError,
        ValueError,
    ):
        if isinstance(error, kind):
            return kind(str(error))
    return RuntimeError(f"the encoder failed: {type(error).__name__}: {error}")
