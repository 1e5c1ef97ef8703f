"""Encode clips into vectors in a separate process: one per GPU, or one on a CPU.

Letters: `B` clips of a batch, `T` frames, `h` and `w` a frame, `C` channels, `N` tokens.
"""

import io
import sys
import time
import warnings
from collections.abc import Callable, Iterable
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
from vidtldr.tasks.quiet import quiet_transformers

__all__ = ["EncodeJob", "encode_batch", "load_and_describe"]


@dataclass(frozen=True)
class EncodeJob:
    """The job of an encoder: load the model, describe it, and encode.

    Attributes:
        load: Makes the embedder; must be picklable, as it is sent to the process.
        keep_tokens: Whether tokens are wanted in addition to vectors.
        num_threads: CPU threads that it may use.
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
        except Exception as error:  # re-raised by the parent
            connection.send(EncodingFailed(_picklable(error)))

    def _encode(self, connection: "Connection[Any, Any]", embedder: Embedder) -> None:
        slots: ClipSlots = connection.recv()
        clips = slots.map()
        while True:
            task: EncodeClips = connection.recv()
            start = time.perf_counter()
            x = clips[list(task.slots)]  # a copy: the reply frees the slots
            vectors, tokens = encode_batch(embedder, x, self.keep_tokens)
            seconds = time.perf_counter() - start
            connection.send(VectorsEncoded(task.number, vectors, tokens, seconds))


def load_and_describe(load: Callable[[], Embedder]) -> tuple[Embedder, EncoderReady]:
    """Load a model and describe it, capturing what loading writes to stderr.

    Raises:
        Exception: Whatever loading raised, once the captured output is on stderr.
    """
    quiet_transformers()
    said = io.StringIO()
    try:
        with redirect_stderr(said), warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", UserWarning)
            embedder = load()
    except BaseException:
        sys.stderr.write(said.getvalue() + _notes(caught))
        raise
    said.write(_notes(caught))
    if embedder.compiled is not None:
        said.write(f"{embedder.compiled.summary}\n")
    has_tokens = embedder.encode_with_tokens is not None
    about = (embedder.reader, embedder.num_channels, embedder.identity(), has_tokens)
    return embedder, EncoderReady(*about, embedder.device.type, said.getvalue())


def _notes(caught: Iterable[warnings.WarningMessage]) -> str:
    own = (warning.message for warning in caught if warning.category is UserWarning)
    return "".join(f"note: {message}\n" for message in own)


def encode_batch(
    embedder: Embedder, x: Tensor, keep_tokens: bool = False
) -> tuple[NDArray[np.float32], list[KeptTokens] | None]:
    """Encode clips; when the GPU runs out of memory, split the batch in half.

    Args:
        embedder: The model.
        x: Resized clips, uint8, shape (B, T, 3, h, w).
        keep_tokens: Whether tokens are wanted.

    Returns:
        Vectors (B, C), and the tokens of each clip; None if not wanted.
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
    assert embedder.encode_with_tokens is not None  # checked at the start of the run
    vectors, tokens = embedder.encode_with_tokens(pixels)
    return vectors.numpy(), [_kept(each) for each in tokens]


def _kept(tokens: VideoTokens) -> KeptTokens:
    x = tokens.x.half().cpu().numpy()
    return KeptTokens(x, None if tokens.mass is None else tokens.mass.float().cpu().numpy())


def _picklable(error: Exception) -> Exception:
    """Convert an error to its built-in base type, which always pickles."""
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
