"""Write outcomes in batches."""

import time

from vidtldr.pipeline.assembly import Outcome, Unchanged
from vidtldr.store.index_writer import IndexWriter
from vidtldr.store.rows import FailureRow, VideoRows

__all__ = ["Commits"]

_SECONDS = 10.0
_NUM_ROWS = 256
_NUM_ROWS_WITH_TOKENS = 32


class Commits:
    """Buffers outcomes until there are enough of them, or the oldest has waited long enough.

    Args:
        writer: The index's writer.
        seconds: Longest time an outcome waits.
        num_rows: Rows that trigger a commit; None for 256, or 32 with tokens, which are large.

    Attributes:
        num_videos: Videos committed.
        num_rows: Their clips.
        num_failures: Files committed as failures.
        num_unchanged: Files whose content was unchanged.
    """

    def __init__(
        self, writer: IndexWriter, seconds: float = _SECONDS, num_rows: int | None = None
    ) -> None:
        self._writer = writer
        self._seconds = seconds
        own = _NUM_ROWS_WITH_TOKENS if writer.settings.keep_tokens else _NUM_ROWS
        self._enough = num_rows or own
        self._videos: list[VideoRows] = []
        self._failures: list[FailureRow] = []
        self._oldest = time.monotonic()
        self.num_videos = self.num_rows = self.num_failures = self.num_unchanged = 0

    def add(self, outcome: Outcome) -> None:
        """Add an outcome, and commit if due."""
        if not (self._videos or self._failures):
            self._oldest = time.monotonic()
        if isinstance(outcome, Unchanged):
            self._writer.refresh(outcome.path, outcome.file)
            self.num_unchanged += 1
        elif isinstance(outcome, FailureRow):
            self._failures.append(outcome)
        else:
            self._videos.append(outcome)
        self.commit_if_due()

    def commit_if_due(self) -> None:
        """Commit if there are enough rows, or the oldest has waited long enough."""
        num_rows = sum(len(video.clips) for video in self._videos) + len(self._failures)
        if num_rows >= self._enough or time.monotonic() - self._oldest > self._seconds:
            self.commit()

    def commit(self) -> None:
        """Commit everything buffered."""
        if not (self._videos or self._failures):
            return
        self._writer.commit(self._videos, self._failures)
        self.num_videos += len(self._videos)
        self.num_rows += sum(len(video.clips) for video in self._videos)
        self.num_failures += len(self._failures)
        self._videos, self._failures = [], []
