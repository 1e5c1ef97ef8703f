"""What is known of one file, one clip of it, or why there is none.

Letters: `C` channels of a vector, `N` tokens.
"""

import hashlib
import os
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "ClipRow",
    "FailureRow",
    "FileState",
    "KeptTokens",
    "VideoRows",
    "clip_fields",
    "clip_id",
    "storable",
]


@dataclass(frozen=True)
class FileState:
    """A file as it was when it was read; all -1 or empty where it could not be looked at.

    Attributes:
        size_bytes: Its size.
        mtime_ns: Its time of change, nanoseconds.
        sha256: Hash of its content, 64 hexadecimal digits; empty if unknown.
    """

    size_bytes: int
    mtime_ns: int
    sha256: str = ""

    @classmethod
    def of(cls, path: str) -> Self:
        """Size and time of a file, without its hash."""
        try:
            status = os.stat(path)
        except (OSError, ValueError):  # ValueError: a null byte in the name
            return cls(-1, -1)
        return cls(status.st_size, status.st_mtime_ns)

    def same_stat(self, other: "FileState") -> bool:
        """Whether size and time are equal, so that nobody need read the content."""
        return (self.size_bytes, self.mtime_ns) == (other.size_bytes, other.mtime_ns)


class KeptTokens(NamedTuple):
    """Visual tokens of a clip for re-ranking.

    Attributes:
        x: Shape (N, channels), float16.
        mass: What each counts for, shape (N,), float32; None where all count alike.
    """

    x: NDArray[np.float16]
    mass: NDArray[np.float32] | None = None


@dataclass(frozen=True, eq=False)
class ClipRow:
    """A clip of a video.

    Attributes:
        start_seconds: Its start, from the first frame of the video on.
        end_seconds: Its end; None if unknown.
        vector: Shape (C,), float32, finite.
        tokens: For re-ranking; None if not kept.
    """

    start_seconds: float
    end_seconds: float | None
    vector: NDArray[np.float32]
    tokens: KeptTokens | None = None


@dataclass(frozen=True, eq=False)
class VideoRows:
    """All clips of one video: they are committed together.

    Attributes:
        path: Absolute; fit for `storable`.
        file: As it was when it was read.
        width: Of a frame, upright, pixels.
        height: Of a frame, upright, pixels.
        codec: FFmpeg's name of it.
        notes: Everything unusual about the file.
        clips: In order of time, at least one.
    """

    path: str
    file: FileState
    width: int
    height: int
    codec: str
    notes: tuple[str, ...]
    clips: tuple[ClipRow, ...]


@dataclass(frozen=True)
class FailureRow:
    """Why a file has no rows."""

    path: str
    file: FileState
    reason: str


def clip_id(path: str, start_seconds: float) -> str:
    """The key of a clip: 32 hexadecimal digits of its file's path and its start."""
    text = f"{storable(path)}\0{start_seconds:.6f}"
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def storable(path: str) -> str:
    r"""A path as it is stored: bytes that are no UTF-8 as `\xNN`."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def clip_fields(video: VideoRows) -> list[dict[str, Any]]:
    """The columns of a video's clips that differ between rows."""
    path = storable(video.path)
    return [
        {
            "id": clip_id(video.path, clip.start_seconds),
            "path": path,
            "start_seconds": clip.start_seconds,
            "end_seconds": clip.end_seconds,
            "seconds": None if clip.end_seconds is None else clip.end_seconds - clip.start_seconds,
            "width": video.width,
            "height": video.height,
            "codec": video.codec,
            "notes": "\n".join(video.notes),
            "sha256": video.file.sha256,
            "size_bytes": video.file.size_bytes,
            "mtime_ns": video.file.mtime_ns,
        }
        for clip in video.clips
    ]
