"""Write an index: batches that are whole or not there, by one process at a time."""

import os
import warnings
from collections.abc import Iterable, Sequence
from datetime import timedelta
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from vidtldr.store.lance import connect, open_table, quoted, readable
from vidtldr.store.rows import FailureRow, FileState, VideoRows, storable
from vidtldr.store.schema import (
    CLIPS,
    FAILURES,
    TOKENS,
    clip_table,
    failure_table,
    schema_of,
    token_table,
)
from vidtldr.store.settings import SETTINGS_FILE, IndexSettings, read_settings, write_settings
from vidtldr.store.video_index import VideoIndex, scan
from vidtldr.store.writer_lock import LOCK_FILE, WriterLock

__all__ = ["IndexWriter"]

_NUM_KEYS_AT_ONCE = 500
_NUM_COMMITS_UNTIL_COMPACTION = 200


class IndexWriter:
    """Writes an index, and is alone in it from its making until `close`.

    Every commit of clips is one step of the table: after `kill -9` it is there or not. What a
    killed writer left half done between tables is put right when the next one opens the index.

    Args:
        directory: Of the index; made if it is not there.
        settings: What it is to be made with, and must have been made with if it is there; None
            takes whatever an index that is there has.

    Attributes:
        settings: Those of the index.

    Raises:
        ValueError: If the index was made with something else, or the directory holds other files.
        FileNotFoundError: If there is no index and no settings are given.
        BlockingIOError: If another process writes it.
        OSError: If it cannot be written to, or is damaged.
        ImportError: If LanceDB is not installed.
    """

    def __init__(
        self, directory: str | os.PathLike[str], settings: IndexSettings | None = None
    ) -> None:
        self.directory = Path(directory)
        is_there = (self.directory / SETTINGS_FILE).exists()
        if settings is None or is_there:
            self.settings = read_settings(self.directory)
            if settings is not None:
                self.settings.validate_same(settings, self.directory)
        else:
            self.settings = settings
            _make_directory(self.directory)
        self._lock = WriterLock(self.directory)
        try:
            if not is_there:
                write_settings(self.directory, self.settings)
            names = (CLIPS, FAILURES, TOKENS) if self.settings.keep_tokens else (CLIPS, FAILURES)
            self._tables = {name: self._table(name) for name in names}
            self._num_commits = 0
            index = VideoIndex(self.directory)
            self._known, self._failed = set(index.known_files()), set(index.failures())
            self._mend()
        except BaseException:
            self._lock.release()
            raise

    def commit(self, videos: Sequence[VideoRows], failures: Sequence[FailureRow] = ()) -> None:
        """Write the outcome of some files; what was known of them before goes in the same step.

        Args:
            videos: Files with their clips.
            failures: Files that have none.

        Raises:
            OSError: If the disk is full or the index damaged; earlier commits stay whole.
        """
        with readable(self.directory):
            if videos:
                self._write_videos(videos)
            if failures:
                self._write_failures(failures)
        self._num_commits += 1
        if self._num_commits % _NUM_COMMITS_UNTIL_COMPACTION == 0:
            self.compact()

    def refresh(self, path: str, file: FileState) -> None:
        """Note a new size and time of a file whose content is unchanged."""
        values = {"size_bytes": file.size_bytes, "mtime_ns": file.mtime_ns}
        with readable(self.directory):
            self._tables[CLIPS].update(where=f"path = {quoted(storable(path))}", values=values)

    def remove(self, paths: Iterable[str]) -> None:
        """Remove all that is known of some files, by their stored paths."""
        with readable(self.directory):
            gone = set(paths)
            self._delete(CLIPS, gone & self._known)
            self._delete(FAILURES, gone & self._failed)
            self._known -= gone
            self._failed -= gone
            self._remove_orphans()

    def compact(self) -> None:
        """Join what many small commits wrote, and drop what no row needs any more."""
        with readable(self.directory), warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # readers take what they need at once
            for table in self._tables.values():
                table.optimize(cleanup_older_than=timedelta(0))

    def close(self) -> None:
        """Let others write; a second call does nothing."""
        self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _table(self, name: str) -> Any:
        table = open_table(self.directory, name)
        if table is not None:
            return table
        with readable(self.directory):
            schema = schema_of(name, self.settings.num_channels)
            return connect(self.directory).create_table(name, schema=schema)

    def _write_videos(self, videos: Sequence[VideoRows]) -> None:
        paths = {storable(video.path) for video in videos}
        changed = paths & self._known
        if self.settings.keep_tokens:
            _put(self._tables[TOKENS], token_table(videos), bool(changed))
        where = f"path IN ({', '.join(map(quoted, sorted(changed)))})"
        rows = clip_table(videos, self.settings)
        _put(self._tables[CLIPS], rows, bool(changed), where if changed else None)
        self._known |= paths
        self._delete(FAILURES, paths & self._failed)
        self._failed -= paths

    def _write_failures(self, failures: Sequence[FailureRow]) -> None:
        paths = {storable(failure.path) for failure in failures}
        self._delete(FAILURES, paths & self._failed)
        self._delete(CLIPS, paths & self._known)
        self._known -= paths
        self._tables[FAILURES].add(failure_table(failures))
        self._failed |= paths

    def _delete(self, name: str, keys: Iterable[str], column: str = "path") -> None:
        rest = iter(sorted(keys))
        while group := list(islice(rest, _NUM_KEYS_AT_ONCE)):
            self._tables[name].delete(f"{column} IN ({', '.join(map(quoted, group))})")

    def _mend(self) -> None:
        """Finish what a killed writer had begun: a file has rows, or a failure, or neither."""
        with readable(self.directory):
            self._delete(FAILURES, self._known & self._failed)
            self._failed -= self._known
            self._remove_orphans()

    def _remove_orphans(self) -> None:
        """Tokens of clips that are not there, as of a batch that was not finished."""
        table = self._tables.get(TOKENS)
        if table is None or table.count_rows() == 0:
            return
        clips = {key for batch in scan(self._tables[CLIPS], ["id"]) for key in _ids(batch)}
        tokens = {key for batch in scan(table, ["id"]) for key in _ids(batch)}
        self._delete(TOKENS, tokens - clips, "id")


def _put(table: Any, rows: Any, replaces: bool, of_files: str | None = None) -> None:
    """Add rows in one step; where some may be there, instead of those.

    Args:
        table: LanceDB's table, keyed by `id`.
        rows: What to write.
        replaces: Whether some of the keys may be there.
        of_files: Filter of the rows that go if `rows` does not have them.
    """
    if not replaces:
        table.add(rows)
        return
    merge = table.merge_insert("id").when_matched_update_all().when_not_matched_insert_all()
    if of_files is not None:
        merge = merge.when_not_matched_by_source_delete(of_files)
    merge.execute(rows)


def _make_directory(directory: Path) -> None:
    try:
        directory.mkdir(parents=True, exist_ok=True)
        others = sorted({path.name for path in directory.iterdir()} - {LOCK_FILE})
    except OSError as error:
        raise OSError(
            f"an index must be a directory that can be written to, got {str(directory)!r} "
            f"({error.strerror}). Name another."
        ) from error
    if others and not all(name.endswith(".partial") for name in others):
        raise ValueError(
            f"a new index must be made in a new or empty directory, got {str(directory)!r} with "
            f"{others[0]!r} in it. Name another."
        )


def _ids(batch: Any) -> list[str]:
    ids: list[str] = batch.column("id").to_pylist()
    return ids
