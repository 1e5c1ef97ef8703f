"""Messages between the processes of the local pipeline.

Letters: `B` clips of a batch, `C` channels of a vector, `N` tokens.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vidtldr.store.rows import FileState, KeptTokens

__all__ = [
    "ClipDecoded",
    "EncodeClips",
    "EncoderReady",
    "EncodingFailed",
    "GrantSlot",
    "ReadVideo",
    "StillBusy",
    "VectorsEncoded",
    "VideoRead",
]


@dataclass(frozen=True)
class ReadVideo:
    """To a decoder: read this file.

    Attributes:
        number: Unique number of the attempt.
        path: Absolute path.
        known_sha256: Hash of content that is already indexed and need not be decoded; None if the
            file must be decoded.
    """

    number: int
    path: str
    known_sha256: str | None


@dataclass(frozen=True)
class GrantSlot:
    """To a decoder: you may write one clip into this slot of the shared memory."""

    slot: int


@dataclass(frozen=True)
class StillBusy:
    """From a decoder: a sign of life during long work."""


@dataclass(frozen=True)
class ClipDecoded:
    """From a decoder: a clip of the video is in a granted slot.

    Attributes:
        number: Number of the attempt.
        slot: Its slot; the decoder no longer touches it.
        start_seconds: Its start in the video.
        end_seconds: Its end; None if unknown.
    """

    number: int
    slot: int
    start_seconds: float
    end_seconds: float | None


@dataclass(frozen=True)
class VideoRead:
    """From a decoder: this video is finished; no more of its clips follow.

    Attributes:
        number: Number of the attempt.
        file: State of the file before it was read.
        width: Width of a frame, in pixels; 0 if it failed.
        height: Height of a frame, in pixels; 0 if it failed.
        codec: FFmpeg's name of the codec.
        notes: Everything unusual about the file.
        is_unchanged: Whether its content is already indexed; then it was not decoded.
        error: Why it failed; None if it did not.
    """

    number: int
    file: FileState
    width: int = 0
    height: int = 0
    codec: str = ""
    notes: tuple[str, ...] = ()
    is_unchanged: bool = False
    error: str | None = None


@dataclass(frozen=True)
class EncoderReady:
    """From an encoder: the model is loaded.

    Attributes:
        reader: How videos are read, a `ClipReader`.
        num_channels: Length of its vectors.
        identity: See `Embedder.identity`.
        has_tokens: Whether it can return tokens.
        device: Device of the model.
        said: What loading wrote to stderr, for the parent to print once.
    """

    reader: Any
    num_channels: int
    identity: dict[str, Any]
    has_tokens: bool
    device: str
    said: str


@dataclass(frozen=True)
class EncodeClips:
    """To an encoder: encode the clips in these slots."""

    number: int
    slots: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class VectorsEncoded:
    """From an encoder: the result of a batch.

    Attributes:
        number: Number of the batch.
        vectors: Shape (B, C), float32.
        tokens: One entry per clip; None if not wanted.
        seconds: Time that the encoder took.
    """

    number: int
    vectors: NDArray[np.float32]
    tokens: list[KeptTokens] | None
    seconds: float


@dataclass(frozen=True)
class EncodingFailed:
    """From an encoder: an error that stops the run; the parent raises it."""

    error: Exception
