"""Verify the consistency of an index, and compare its rows with the files on disk."""

import os
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from vidtldr.store.checksums import CHECKSUM, TableState, row_checksums, vectors_of
from vidtldr.store.lance import DamagedIndexError, readable
from vidtldr.store.rows import FileState, clip_id, path_of
from vidtldr.store.schema import CLIPS, FAILURES, TOKENS
from vidtldr.store.video_index import VideoIndex
from vidtldr.store.writer_lock import is_locked

__all__ = ["IndexCheck", "gone_files", "verify_index"]

_MAX_EXAMPLES = 5


@dataclass(frozen=True)
class IndexCheck:
    """Result of a check.

    Attributes:
        num_videos: Files with rows.
        num_rows: Clips.
        num_failures: Files that failed and have no rows.
        problems: What is wrong with the index, one sentence each; empty if it is sound.
        num_changed: Files that changed after they were indexed.
        num_gone: Files that no longer exist.
        num_unchecked: Rows of an index of format 1 that an older version wrote, without a checksum.
    """

    num_videos: int
    num_rows: int
    num_failures: int
    problems: tuple[str, ...]
    num_changed: int
    num_gone: int
    num_unchecked: int = 0


def verify_index(directory: str | os.PathLike[str]) -> IndexCheck:
    """Read every row and check every file.

    A row must have the checksum of its values, a finite vector, the key of its path and start, and
    the model and schedule of the index. Keys must be unique, no file may have both rows and a
    failure, and a table must hold what its last commit left.

    Raises:
        FileNotFoundError: If there is no index.
        ValueError, OSError: If it is too damaged to open.
    """
    index = VideoIndex(directory)
    try:
        check = index.retried(lambda: _verified(index))
        if check.problems and is_locked(index.directory):  # perhaps a commit half done: look again
            check = _verified(VideoIndex(directory))
        return check
    except DamagedIndexError as error:
        return IndexCheck(0, 0, 0, (str(error),), 0, 0)


def gone_files(index: VideoIndex, exists: Callable[[str], bool] = os.path.exists) -> list[str]:
    """List the files with rows or a failure that no longer exist, sorted, in their stored form."""
    paths = {*index.known_files(), *index.failures()}
    return sorted(path for path in paths if not exists(path_of(path)))


class _Reading:
    """Every row of an index, read once, and what is wrong with the checksums."""

    def __init__(self, index: VideoIndex) -> None:
        self._index = index
        self.problems: list[str] = []
        self.num_unchecked = 0

    def batches(self, name: str) -> Iterator[Any]:
        """All rows of a table in Arrow batches, whose checksums are checked meanwhile."""
        index, table = self._index, self._index.table(name)
        if table is None:
            return
        stored = []
        for batch in index.batches(name, table.schema.names):
            if CHECKSUM in batch.schema.names:
                with readable(index.directory):
                    self._compare(name, batch)
                stored.append(batch.column(CHECKSUM))
            else:
                self.num_unchecked += len(batch)
            yield batch
        recorded, state = index.recorded(name), TableState.of(table.version, stored)
        if recorded is not None and recorded != state:
            got = state.num_rows if state.num_rows != recorded.num_rows else "as many, but others"
            self.problems.append(
                f"{name} must hold the {recorded.num_rows} rows of the last commit, got {got}"
            )

    def _compare(self, name: str, batch: Any) -> None:
        is_kept = self._index.settings.format > 1  # by every version that may write here
        why = "" if is_kept else ": it is damaged, or an older vidtldr replaced it"
        keys = batch.column("id" if name == TOKENS else "path").to_pylist()
        stored = batch.column(CHECKSUM).to_pylist()
        for key, there, computed in zip(
            keys, stored, row_checksums(batch).to_pylist(), strict=True
        ):
            if there is None and not is_kept:
                self.num_unchecked += 1
            elif there != computed:
                self.problems.append(f"a row of {key!r} in {name} does not have its checksum{why}")


def _verified(index: VideoIndex) -> IndexCheck:
    reading = _Reading(index)
    problems = reading.problems
    keys: Counter[str] = Counter()
    for row, vector in _clips(index, reading):
        keys[row["id"]] += 1
        problems += _problems_of(row, vector, index)
    known, failed = index.known_files(), index.failures()
    problems += [f"{count} rows have the key {key}" for key, count in keys.items() if count > 1]
    problems += [
        f"{path!r} has rows and a failure" for path in sorted(known.keys() & failed.keys())
    ]
    token_ids = {key for batch in reading.batches(TOKENS) for key in batch.column("id").to_pylist()}
    num_missing = len(keys.keys() - token_ids) if index.settings.keep_tokens else 0
    if num_missing:
        problems.append(f"rows without tokens: {num_missing}")
    for _ in reading.batches(FAILURES):
        pass
    states = {path_of(path): state for path, state in known.items()}
    num_gone = sum(not os.path.exists(path) for path in states)
    num_other = sum(not state.same_stat(FileState.of(path)) for path, state in states.items())
    num_problems = len(problems)
    if num_problems > _MAX_EXAMPLES:
        problems = [*problems[:_MAX_EXAMPLES], f"and {num_problems - _MAX_EXAMPLES} more"]
    return IndexCheck(
        len(known),
        sum(keys.values()),
        len(failed),
        tuple(problems),
        num_other - num_gone,
        num_gone,
        reading.num_unchecked,
    )


def _clips(index: VideoIndex, reading: _Reading) -> Iterator[tuple[dict[str, Any], Any]]:
    for batch in reading.batches(CLIPS):
        with readable(index.directory):
            vectors = vectors_of(batch.column("vector"))
            rows = batch.drop_columns(["vector"]).to_pylist()
        yield from zip(rows, vectors, strict=True)


def _problems_of(row: dict[str, Any], vector: Any, index: VideoIndex) -> list[str]:
    settings, name = index.settings, f"{row['path']!r} at {row['start_seconds']:g} s"
    found = []
    if not np.isfinite(vector).all():
        found.append(f"{name} has a vector that is not {settings.num_channels} finite numbers")
    if row["id"] != clip_id(path_of(row["path"]), row["start_seconds"]):
        found.append(f"{name} has the key of another row")
    if (row["model"], row["schedule"]) != (settings.model, settings.schedule):
        found.append(f"{name} was made with {row['model']!r}, schedule {row['schedule']}")
    return found
