"""Decode videos in a process that may crash, hang or run out of memory without affecting others.

Letters: `T` frames, `H` and `W` a frame as decoded, `h` and `w` as the model takes it.
"""

import os
import resource
import time
from collections import deque
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

import torch

from vidtldr.pipeline.messages import (
    ClipDecoded,
    GrantSlot,
    ReadVideo,
    StillBusy,
    VideoRead,
)
from vidtldr.pipeline.shared_clips import ClipSlots
from vidtldr.tasks.clip_reader import ClipReader
from vidtldr.tasks.video_file import VideoFile
from vidtldr.video.decode import VideoError
from vidtldr.video.local_file import VideoMemoryError, video_error

__all__ = ["DecodeJob"]

_SECONDS_BETWEEN_SIGNS = 1.0


@dataclass(frozen=True)
class DecodeJob:
    """The job of a decoder: files in, clips in shared memory out.

    Attributes:
        reader: How the model wants its videos read.
        segment_seconds: Length of a segment; None for one clip per video.
        slots: Shared memory that the clips are written to.
        memory_bytes: Memory it may allocate beyond what it has at the start; reading a file that
            needs more fails.
    """

    reader: ClipReader
    segment_seconds: float | None
    slots: ClipSlots
    memory_bytes: int

    def __call__(self, connection: "Connection[Any, Any]") -> None:
        """Read files until the connection closes."""
        torch.set_num_threads(1)
        clips = self.slots.map()
        limit_memory(self.memory_bytes)
        inbox = _Inbox(connection)
        while True:
            task = inbox.next_task()
            file = VideoFile(task.path, self.reader, self.segment_seconds, inbox.still_busy)
            connection.send(self._outcome(task, file, clips, inbox))

    def _outcome(
        self, task: ReadVideo, file: VideoFile, clips: torch.Tensor, inbox: "_Inbox"
    ) -> VideoRead:
        try:
            return self._read(task, file, clips, inbox)
        except (EOFError, BrokenPipeError, ConnectionResetError):
            raise
        except VideoMemoryError:
            reason = f"reading it takes more than {self.memory_bytes / 2**30:g} GiB"
            remedy = "Look at it, or raise memory_bytes (--worker-memory)."
            message = str(video_error(task.path, reason, remedy))
        except VideoError as error:
            message = str(error)
        return VideoRead(task.number, file.state, error=message)

    def _read(
        self, task: ReadVideo, file: VideoFile, clips: torch.Tensor, inbox: "_Inbox"
    ) -> VideoRead:
        if file.hash_content() == task.known_sha256 is not None:
            return VideoRead(task.number, file.state, is_unchanged=True)
        for clip in file.clips():
            slot = inbox.next_slot()
            clips[slot].copy_(clip.x)
            inbox.send(ClipDecoded(task.number, slot, clip.start_seconds, clip.end_seconds))
        file.validate_unchanged()
        height, width = file.size
        return VideoRead(task.number, file.state, width, height, file.codec, file.notes)


class _Inbox:
    """Messages from the parent: files to read and slots to write to, in any order."""

    def __init__(self, connection: "Connection[Any, Any]") -> None:
        self._connection = connection
        self._tasks: deque[ReadVideo] = deque()
        self._slots: deque[int] = deque()
        self._last_sign = time.monotonic()

    def next_task(self) -> ReadVideo:
        while not self._tasks:
            self._receive()
        return self._tasks.popleft()

    def next_slot(self) -> int:
        while not self._slots:
            self._receive()
        return self._slots.popleft()

    def send(self, message: object) -> None:
        self._connection.send(message)
        self._last_sign = time.monotonic()

    def still_busy(self) -> None:
        """Send the parent a sign of life, at most about once a second."""
        if time.monotonic() - self._last_sign > _SECONDS_BETWEEN_SIGNS:
            self.send(StillBusy())

    def _receive(self) -> None:
        message = self._connection.recv()
        if isinstance(message, GrantSlot):
            self._slots.append(message.slot)
        else:
            self._tasks.append(message)


def limit_memory(num_bytes: int) -> None:
    """Limit how much more address space this process may take; beyond it, MemoryError."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            taken = int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return  # no such limit on this system
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    limit = taken + num_bytes
    if hard == resource.RLIM_INFINITY or limit < hard:
        resource.setrlimit(resource.RLIMIT_AS, (limit, hard))
