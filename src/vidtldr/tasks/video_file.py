"""Read one file for indexing: its hash, its clips as the model takes them, and its metadata.

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
from vidtldr.tasks.unchanged import FileWatch
from vidtldr.video.deadline import OverTimeError, StopFlag
from vidtldr.video.decode import over_time, read_clip
from vidtldr.video.local_file import video_error
from vidtldr.video.segments import SegmentReader

__all__ = ["ReadClip", "VideoFile"]

_NUM_BYTES_AT_ONCE = 2**22


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
        on_progress: Called often while the file is hashed.

    Attributes:
        state: State of the file before it was read; includes the hash after `hash_content`.
        size: (height, width) of an upright frame, set by the first clip.
        codec: FFmpeg's name of the codec, set once all clips are read.
        notes: Everything unusual about the file, set once all clips are read.
    """

    def __init__(
        self,
        path: str,
        reader: ClipReader,
        segment_seconds: float | None = None,
        on_progress: Callable[[], None] = lambda: None,
    ) -> None:
        self.path = path
        self._watch = FileWatch(path)
        self.state = FileState.of(path)
        self.size = (0, 0)
        self.codec = ""
        self.notes: tuple[str, ...] = ()
        self._reader = reader
        self._segment_seconds = segment_seconds
        self._on_progress = on_progress

    def hash_content(self) -> str | None:
        """Hash the content by SHA-256; None if unreadable, for which decoding gives the reason."""
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
        """Read the clips in order.

        Raises:
            VideoError: If the file cannot be read, or a clip exceeds the reader's time limit.
        """
        if self._segment_seconds is None:
            yield self._whole()
        else:
            yield from self._segments(self._segment_seconds)

    def validate_unchanged(self) -> None:
        """Check that the file has not changed since `state` was taken.

        Raises:
            FileChangedError: If it has.
        """
        self._watch.validate_unchanged()

    def _whole(self) -> ReadClip:
        reader = self._reader
        clip = read_clip(
            self.path,
            reader.sampling,
            max_seconds=reader.max_seconds,
            time_limit_seconds=reader.time_limit_seconds,
            transform=reader.transform,
        )
        self.size, self.codec = clip.size, clip.codec
        self.notes = (*clip.notes, *reader.note(*clip.size))
        return ReadClip(0.0, clip.duration_seconds, clip.frames)

    def _segments(self, segment_seconds: float) -> Iterator[ReadClip]:
        stop = _Deadline(self._reader.time_limit_seconds)
        try:
            segments = SegmentReader(
                self.path, self._reader.sampling, segment_seconds, stop, self._reader.transform
            )
            for segment in segments:
                self.size = segment.size
                yield ReadClip(segment.start_seconds, segment.end_seconds, segment.frames)
                stop.restart()
        except OverTimeError:
            raise over_time(self.path, self._reader.time_limit_seconds) from None
        self.codec, self.notes = segments.codec, (*segments.notes, *self._reader.note(*self.size))


class _Deadline(StopFlag):
    """Stops reading when a segment takes too long; time spent waiting for the encoder is free."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self._seconds = seconds
        self.restart()

    def restart(self) -> None:
        self._end = time.monotonic() + self._seconds

    def is_set(self) -> bool:
        return time.monotonic() > self._end
