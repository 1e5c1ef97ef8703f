"""Bookkeeping of a run: outcomes go to the index, counts to the progress callbacks."""

import time
from collections.abc import Callable, Sequence

from vidtldr.pipeline.assembly import Outcome
from vidtldr.pipeline.commits import Commits
from vidtldr.pipeline.plan import Plan, plan_work
from vidtldr.pipeline.request import Progress, RunReport
from vidtldr.store.ann import build_ann, is_ann_due
from vidtldr.store.index_writer import IndexWriter
from vidtldr.store.rows import FailureRow
from vidtldr.store.video_index import VideoIndex

__all__ = ["RunLog"]


class RunLog:
    """One run of any engine, in the process that writes the index.

    Args:
        writer: The index's writer.
        files: Absolute paths.
        retry_failed: Retry files that failed before and have not changed.
        on_progress: Called with every outcome and tick.
        on_failure: Called for every file that fails.

    Attributes:
        plan: The files that need work.
    """

    def __init__(
        self,
        writer: IndexWriter,
        files: Sequence[str],
        retry_failed: bool,
        on_progress: Callable[[Progress], object],
        on_failure: Callable[[FailureRow], object],
    ) -> None:
        index = VideoIndex(writer.directory)
        known, failed = index.known_files(), index.failures()
        self.plan: Plan = plan_work(files, known, failed, retry_failed=retry_failed)
        self._num_files = len(files)
        self._writer, self._commits = writer, Commits(writer)
        self._on_progress, self._on_failure = on_progress, on_failure
        self._num_done = self._num_failed = 0
        self._start = time.perf_counter()

    def add(self, outcome: Outcome | None) -> None:
        """Process an outcome, or a tick (None)."""
        if outcome is None:
            self._commits.commit_if_due()
        else:
            self._num_done += 1
            if isinstance(outcome, FailureRow):
                self._num_failed += 1
                self._on_failure(outcome)
            self._commits.add(outcome)
        self._on_progress(
            Progress(len(self.plan.work), self._num_done, self._num_failed, self._commits.num_rows)
        )

    def finish(self, encode_seconds: float = 0.0, was_stopped: bool = False) -> RunReport:
        """Commit the rest, compact the index, and report."""
        self._commits.commit()
        self._writer.compact()  # without any work too: it deletes what the last run had to keep
        ann = None
        if self.plan.work:
            index = VideoIndex(self._writer.directory)
            if is_ann_due(index):
                ann = build_ann(index)
        return RunReport(
            num_files=self._num_files,
            num_indexed=self._commits.num_videos,
            num_rows=self._commits.num_rows,
            num_unchanged=self.plan.num_unchanged + self._commits.num_unchanged,
            num_failed=self._commits.num_failures,
            num_failed_before=self.plan.num_failed_before,
            seconds=time.perf_counter() - self._start,
            encode_seconds=encode_seconds,
            was_interrupted=was_stopped and self._num_done < len(self.plan.work),
            ann=ann,
        )
