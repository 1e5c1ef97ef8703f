"""Rows of an index: a file, its clips, or the reason it failed.

Letters: `C` channels of a vector, `N` tokens.
"""

import hashlib
import os
import re
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
    "path_of",
    "storable",
]

_BYTE = re.compile(rb"\\(x[0-9a-f]{2})")


@dataclass(frozen=True)
class FileState:
    """State of a file when it was read; -1 or empty if it could not be accessed.

    Attributes:
        size_bytes: Its size.
        mtime_ns: Its modification time, in nanoseconds.
        sha256: Hash of its content, 64 hexadecimal digits; empty if unknown.
    """

    size_bytes: int
    mtime_ns: int
    sha256: str = ""

    @classmethod
    def of(cls, path: str) -> Self:
        """Get the size and modification time of a file, without its hash."""
        try:
            status = os.stat(path)
        except (OSError, ValueError):  # ValueError: a null byte in the name
            return cls(-1, -1)
        return cls(status.st_size, status.st_mtime_ns)

    def same_stat(self, other: "FileState") -> bool:
        """Whether size and modification time are equal, so the content need not be read."""
        return (self.size_bytes, self.mtime_ns) == (other.size_bytes, other.mtime_ns)


class KeptTokens(NamedTuple):
    """Visual tokens of a clip for re-ranking.

    Attributes:
        x: Shape (N, channels), float16.
        mass: Mass of each token, shape (N,), float32; None if all are equal.
    """

    x: NDArray[np.float16]
    mass: NDArray[np.float32] | None = None


@dataclass(frozen=True, eq=False)
class ClipRow:
    """A clip of a video.

    Attributes:
        start_seconds: Its start, counted from the first frame of the video.
        end_seconds: Its end; None if unknown.
        vector: Shape (C,), float32, finite.
        tokens: Tokens for re-ranking; None if not kept.
    """

    start_seconds: float
    end_seconds: float | None
    vector: NDArray[np.float32]
    tokens: KeptTokens | None = None


@dataclass(frozen=True, eq=False)
class VideoRows:
    """All clips of one video, committed together.

    Attributes:
        path: Absolute path; `storable` gives its stored form.
        file: State of the file when it was read.
        width: Width of an upright frame, in pixels.
        height: Height of an upright frame, in pixels.
        codec: FFmpeg's name of the codec.
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
    """Make the key of a clip: a hash of its file's path and start, 32 hexadecimal digits."""
    text = f"{storable(path)}\0{start_seconds:.6f}"
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def storable(path: str) -> str:
    r"""Convert a path to its stored form: bytes that are not UTF-8 become `\xNN`.

    So does a backslash that begins such letters: no two paths have the same stored form.
    """
    plain = _BYTE.sub(rb"\\x5c\1", os.fsencode(path))
    return plain.decode("utf-8", "backslashreplace")


def path_of(stored: str) -> str:
    """Convert a stored form back to the path."""
    plain = _BYTE.sub(lambda found: bytes([int(found[1][1:], 16)]), stored.encode())
    return os.fsdecode(plain)


def clip_fields(video: VideoRows) -> list[dict[str, Any]]:
    """Build the columns of a video's clips that differ between rows."""
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
