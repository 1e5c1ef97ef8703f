"""Collect the clips of each video until it is complete.

Letters: `C` channels of a vector.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from vidtldr.pipeline.encode_pool import ClipEncoded
from vidtldr.pipeline.messages import ClipDecoded, VideoRead
from vidtldr.store.rows import ClipRow, FailureRow, FileState, VideoRows

__all__ = ["Assembly", "Outcome", "Unchanged"]


@dataclass(frozen=True)
class Unchanged:
    """A file whose content is unchanged, although its size or modification time differed."""

    path: str
    file: FileState


Outcome = VideoRows | FailureRow | Unchanged


@dataclass
class _Video:
    path: str
    num_clips: int = 0
    rows: dict[float, ClipRow] = field(default_factory=dict)
    end: VideoRead | None = None
    error: str | None = None


class Assembly:
    """Videos in progress: each becomes an outcome once its last clip is encoded, or it fails."""

    def __init__(self) -> None:
        self._videos: dict[int, _Video] = {}
        self._clips: dict[int, ClipDecoded] = {}

    @property
    def is_empty(self) -> bool:
        """Whether no video is in progress."""
        return not self._videos

    def decoded(self, clip: ClipDecoded, path: str) -> None:
        """Record that a clip of an attempt was decoded."""
        self._videos.setdefault(clip.number, _Video(path)).num_clips += 1
        self._clips[clip.slot] = clip

    def read(self, message: VideoRead, path: str) -> Iterator[Outcome]:
        """Record that all clips of an attempt were decoded, or that it failed."""
        video = self._videos.setdefault(message.number, _Video(path))
        video.end = message
        yield from self._finished(message.number)

    def lost(self, number: int) -> None:
        """Discard an attempt; the vectors of its clips still being encoded are ignored."""
        self._videos.pop(number, None)

    def drop_unread(self) -> set[int]:
        """Discard every attempt that is not fully read; returns the slots of their clips."""
        unread = {number for number, video in self._videos.items() if video.end is None}
        for number in unread:
            self.lost(number)
        return {slot for slot, clip in self._clips.items() if clip.number in unread}

    def encoded(self, result: ClipEncoded) -> Iterator[Outcome]:
        """Record the result of encoding a clip."""
        clip = self._clips.pop(result.slot)
        video = self._videos.get(clip.number)
        if video is None:
            return
        error = _error(result)
        if error is not None:
            video.error = f"{video.path!r} cannot be encoded: {error}"
        vector = np.zeros(0, np.float32) if result.vector is None else result.vector
        row = ClipRow(clip.start_seconds, clip.end_seconds, vector, result.tokens)
        video.rows[clip.start_seconds] = row
        yield from self._finished(clip.number)

    def forget(self, slots: set[int]) -> None:
        """Forget clips that will not be encoded."""
        for slot in slots:
            self._clips.pop(slot, None)

    def _finished(self, number: int) -> Iterator[Outcome]:
        video = self._videos[number]
        end = video.end
        if end is None:
            return
        error = end.error or video.error
        if error is None and len(video.rows) < video.num_clips:
            return
        del self._videos[number]
        if error is not None:
            yield FailureRow(video.path, end.file, error)
        elif end.is_unchanged:
            yield Unchanged(video.path, end.file)
        else:
            rows = tuple(video.rows[start] for start in sorted(video.rows))
            yield VideoRows(video.path, end.file, end.width, end.height, end.codec, end.notes, rows)


def _error(result: ClipEncoded) -> str | None:
    if result.vector is None:
        return "encoding it ended the encoder each time. Look at the file, and at the memory."
    if not np.isfinite(result.vector).all():
        return "its vector has NaN or inf. Use float32."
    if result.tokens is not None and not np.isfinite(result.tokens.x).all():
        return "its tokens do not fit into half precision. Leave out the tokens."
    return None
