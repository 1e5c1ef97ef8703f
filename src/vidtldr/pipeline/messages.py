"""What the processes of the local pipeline say to each other.

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
        number: Of the attempt; no two are equal.
        path: Absolute.
        known_sha256: Content that need not be decoded; None if all must be.
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
    """From a decoder: the work goes on, do not think that I hang."""


@dataclass(frozen=True)
class ClipDecoded:
    """From a decoder: a clip of the video lies in a slot that was granted.

    Attributes:
        number: Of the attempt.
        slot: Where it lies; the decoder does not touch it any more.
        start_seconds: Its start in the video.
        end_seconds: Its end; None if unknown.
    """

    number: int
    slot: int
    start_seconds: float
    end_seconds: float | None


@dataclass(frozen=True)
class VideoRead:
    """From a decoder: no more clips of this video come.

    Attributes:
        number: Of the attempt.
        file: As it was before it was read.
        width: Of a frame, pixels; 0 if it failed.
        height: Of a frame, pixels; 0 if it failed.
        codec: FFmpeg's name of it.
        notes: Everything unusual about it.
        is_unchanged: Whether its content is the known one; then it was not decoded.
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
        has_tokens: Whether it can give tokens.
        device: Where the model is.
        said: What loading it wrote to stderr, for whoever started the run to say once.
    """

    reader: Any
    num_channels: int
    identity: dict[str, Any]
    has_tokens: bool
    device: str
    said: str


@dataclass(frozen=True)
class EncodeClips:
    """To an encoder: make vectors of the clips in these slots."""

    number: int
    slots: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class VectorsEncoded:
    """From an encoder.

    Attributes:
        number: Of the batch.
        vectors: Shape (B, C), float32.
        tokens: One a clip; None if not wanted.
        seconds: Time that the encoder took.
    """

    number: int
    vectors: NDArray[np.float32]
    tokens: list[KeptTokens] | None
    seconds: float


@dataclass(frozen=True)
class EncodingFailed:
    """From an encoder: an error that stops the run; it is raised where the run was started."""

    error: Exception
