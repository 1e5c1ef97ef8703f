"""Read one file for an index: its hash, its clips as the model takes them, and what it is.

Letters: `T` frames, `H` and `W` a frame as decoded, `h` and `w` as the model takes it.
"""

import hashlib
import os
import stat
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from torch import Tensor

from vidtldr.store.rows import FileState
from vidtldr.tasks.clip_reader import ClipReader
from vidtldr.video.deadline import OverTimeError, StopFlag
from vidtldr.video.decode import VideoError, read_clip
from vidtldr.video.local_file import video_error
from vidtldr.video.segments import SegmentReader

__all__ = ["FileChangedError", "ReadClip", "VideoFile"]

_NUM_BYTES_AT_ONCE = 2**22


class FileChangedError(Exception):
    """The file was written to while it was read."""


@dataclass(frozen=True, eq=False)
class ReadClip:
    """A clip, resized and cropped but not normalised: `x` is uint8, shape (T, 3, h, w)."""

    start_seconds: float
    end_seconds: float | None
    x: Tensor


class VideoFile:
    """One file, from its hash to its clips.

    Args:
        path: The file.
        reader: How the model wants it read.
        segment_seconds: Length of a segment; None for one clip of the whole video.
        on_progress: Called often while it is read.

    Attributes:
        state: The file as it was before it was read; the hash once `hash_content` has made it.
        size: (height, width) of a frame, upright, after the first clip.
        codec: FFmpeg's name of the codec, after the first clip.
        notes: Everything unusual, after the last clip.
    """

    def __init__(
        self,
        path: str,
        reader: ClipReader,
        segment_seconds: float | None = None,
        on_progress: Callable[[], None] = lambda: None,
    ) -> None:
        self.path = path
        self.state = FileState.of(path)
        self.size = (0, 0)
        self.codec = ""
        self.notes: tuple[str, ...] = ()
        self._reader = reader
        self._segment_seconds = segment_seconds
        self._on_progress = on_progress

    def hash_content(self) -> str | None:
        """SHA-256 of the content; None where there is none, of which decoding tells the reason."""
        try:
            self.path.encode()
        except UnicodeEncodeError:
            raise video_error(
                self.path, "its name is no UTF-8, which an index cannot store", "Rename it."
            ) from None
        try:
            if not stat.S_ISREG(os.stat(self.path).st_mode):
                return None
            digest = hashlib.sha256()
            with open(self.path, "rb", buffering=0) as file:
                while part := file.read(_NUM_BYTES_AT_ONCE):
                    digest.update(part)
                    self._on_progress()
        except (OSError, ValueError):
            return None
        self.state = replace(self.state, sha256=digest.hexdigest())
        return digest.hexdigest()

    def clips(self) -> Iterator[ReadClip]:
        """Read its clips in order.

        Raises:
            VideoError: If it cannot be read, or a clip takes longer than the reader's limit.
        """
        if self._segment_seconds is None:
            yield self._whole()
        else:
            yield from self._segments(self._segment_seconds)

    def validate_unchanged(self) -> None:
        """Check that the file is still what it was.

        Raises:
            FileChangedError: If it is not.
        """
        if not self.state.same_stat(FileState.of(self.path)):
            raise FileChangedError(
                f"path must name a file that nobody writes to, got {self.path!r}, which changed "
                "while it was read. Index it when it is complete."
            )

    def _whole(self) -> ReadClip:
        reader = self._reader
        clip = read_clip(
            self.path,
            reader.sampling,
            max_seconds=reader.max_seconds,
            time_limit_seconds=reader.time_limit_seconds,
            seeks=True,
        )
        self.size = (clip.frames.shape[1], clip.frames.shape[2])
        self.codec, self.notes = clip.codec, clip.notes
        return ReadClip(0.0, clip.duration_seconds, reader.transform.resized(clip.frames))

    def _segments(self, segment_seconds: float) -> Iterator[ReadClip]:
        stop = _Deadline(self._reader.time_limit_seconds)
        try:
            segments = SegmentReader(self.path, self._reader.sampling, segment_seconds, stop)
            for segment in segments:
                self.size = (segment.frames.shape[1], segment.frames.shape[2])
                x = self._reader.transform.resized(segment.frames)
                yield ReadClip(segment.start_seconds, segment.end_seconds, x)
                stop.restart()
        except OverTimeError:
            raise _over_time(self.path, self._reader.time_limit_seconds) from None
        self.codec, self.notes = segments.codec, segments.notes


class _Deadline(StopFlag):
    """Stops the work when a segment takes too long; waiting for the encoder does not count."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self._seconds = seconds
        self.restart()

    def restart(self) -> None:
        self._end = time.monotonic() + self._seconds

    def is_set(self) -> bool:
        return time.monotonic() > self._end


def _over_time(path: str, seconds: float) -> VideoError:
    return video_error(
        path,
        f"reading a segment took longer than {seconds:g} seconds",
        "Raise the time limit; else the file or its disk hangs.",
    )
