"""Write an index in atomic batches, one process at a time."""

import os
import warnings
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from itertools import islice
from types import TracebackType
from typing import Any, Self

from vidtldr.store.checksums import CHECKSUM, TableState, read_record, write_record
from vidtldr.store.doubled_rows import doubled_rows
from vidtldr.store.lance import connect, open_table, quoted, readable, validate_directory
from vidtldr.store.new_index import make_directory
from vidtldr.store.rows import FailureRow, FileState, VideoRows, storable
from vidtldr.store.schema import (
    CLIPS,
    FAILURES,
    TOKENS,
    clip_table,
    failure_table,
    schema_of,
    token_table,
    with_checksums,
)
from vidtldr.store.settings import SETTINGS_FILE, IndexSettings, read_settings, write_settings
from vidtldr.store.video_index import VideoIndex, lost_version, scan
from vidtldr.store.writer_lock import WriterLock

__all__ = ["IndexWriter"]

_NUM_KEYS_AT_ONCE = 500
_NUM_COMMITS_UNTIL_COMPACTION = 200
#: How long a replaced version stays: longer than one read of a table takes.
_KEPT = timedelta(minutes=2)


class IndexWriter:
    """Writes an index and holds its writer lock from construction until `close`.

    Every commit of clips is atomic, even under `kill -9`. If a killed writer left the tables
    inconsistent with each other, or two writers wrote the same rows because the lock file was
    deleted, the next writer to open the index repairs them.

    Args:
        directory: The index's directory; created if missing.
        settings: Settings of a new index; an existing index must have been made with the same.
            None uses those of the existing index.

    Attributes:
        settings: Settings of the index.

    Raises:
        ValueError: If the index was made with other settings, or the directory holds other files
            or is an address.
        FileNotFoundError: If there is no index and no settings are given.
        BlockingIOError: If another process is writing to the index.
        OSError: If it cannot be written to, or is damaged.
        ImportError: If LanceDB is not installed.
    """

    def __init__(
        self, directory: str | os.PathLike[str], settings: IndexSettings | None = None
    ) -> None:
        self.directory = validate_directory(directory)
        is_there = (self.directory / SETTINGS_FILE).exists()
        if settings is None or is_there:
            self.settings = read_settings(self.directory)
            if settings is not None:
                self.settings.validate_same(settings, self.directory)
        else:
            self.settings = settings
            make_directory(self.directory)
        self._lock = WriterLock(self.directory)
        try:
            if not is_there:
                write_settings(self.directory, self.settings)
            names = (CLIPS, FAILURES, TOKENS) if self.settings.keep_tokens else (CLIPS, FAILURES)
            self._tables = {name: self._table(name) for name in names}
            self._states: dict[str, TableState] = {}
            self._num_commits = 0
            self._say_if_lost()
            self._record()
            index = VideoIndex(self.directory)
            self._known, self._failed = set(index.known_files()), set(index.failures())
            self._mend()
            self._record()
        except BaseException:
            self._lock.release()
            raise

    def commit(self, videos: Sequence[VideoRows], failures: Sequence[FailureRow] = ()) -> None:
        """Write the outcomes of some files, replacing what the index held of them.

        Args:
            videos: Files with their clips.
            failures: Files that failed.

        Raises:
            OSError: If the disk is full or the index is damaged; earlier commits stay intact.
        """
        self._lock.validate_held()
        with readable(self.directory):
            if videos:
                self._write_videos(videos)
            if failures:
                self._write_failures(failures)
        self._record()
        self._num_commits += 1
        if self._num_commits % _NUM_COMMITS_UNTIL_COMPACTION == 0:
            self.compact()

    def refresh(self, path: str, file: FileState) -> None:
        """Update the size and modification time of a file whose content is unchanged."""
        import pyarrow as pa

        self._lock.validate_held()
        table = self._tables[CLIPS]
        with readable(self.directory):
            where = f"path = {quoted(storable(path))}"
            batches = scan(table, table.schema.names, where)
            rows = pa.Table.from_batches(batches, table.schema)
            for name in ("size_bytes", "mtime_ns"):
                column = pa.array([getattr(file, name)] * len(rows), pa.int64())
                rows = rows.set_column(rows.schema.get_field_index(name), name, column)
            _put(table, with_checksums(rows), replaces=True)
        self._record()

    def remove(self, paths: Iterable[str]) -> None:
        """Remove everything the index holds of some files, by their stored paths."""
        self._lock.validate_held()
        with readable(self.directory):
            gone = set(paths)
            self._delete(CLIPS, gone & self._known)
            self._delete(FAILURES, gone & self._failed)
            self._known -= gone
            self._failed -= gone
            self._remove_orphans()
        self._record()

    def compact(self) -> None:
        """Merge the fragments of many small commits, and delete versions replaced long ago."""
        self._lock.validate_held()
        with readable(self.directory), warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # readers read everything at once
            for table in self._tables.values():
                table.optimize(cleanup_older_than=_age_of_unread(table))
        self._record()

    def close(self) -> None:
        """Release the writer lock; a second call does nothing."""
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
            if CHECKSUM not in table.schema.names:  # made by an older version
                with readable(self.directory):
                    table.add_columns(schema_of(name, 1).field(CHECKSUM))
            return table
        with readable(self.directory):
            schema = schema_of(name, self.settings.num_channels)
            return connect(self.directory).create_table(name, schema=schema)

    def _record(self) -> None:
        """Write down what the tables hold now."""
        with readable(self.directory):
            for name, table in self._tables.items():
                if name not in self._states or self._states[name].version != table.version:
                    batches = scan(table, [CHECKSUM])
                    checksums = (batch.column(CHECKSUM) for batch in batches)
                    self._states[name] = TableState.of(table.version, checksums)
        write_record(self.directory, self._states)

    def _say_if_lost(self) -> None:
        record = read_record(self.directory)
        lost = [name for name in self._tables if lost_version(self._tables[name], record.get(name))]
        if lost:
            warnings.warn(
                f"the index {str(self.directory)!r} had lost the newest version of its "
                f"{' and '.join(lost)}: rows that are missing are made again when their videos are "
                "added again.",
                stacklevel=3,
            )

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

    def _delete(self, name: str, keys: Iterable[str | int], column: str = "path") -> None:
        rest = iter(sorted(quoted(key) if isinstance(key, str) else str(key) for key in keys))
        while group := list(islice(rest, _NUM_KEYS_AT_ONCE)):
            self._tables[name].delete(f"{column} IN ({', '.join(group)})")

    def _mend(self) -> None:
        """Repair what a killed writer or two writers left.

        No row is there twice, and a file has rows or a failure, never both.
        """
        with readable(self.directory):
            for name, key in ((CLIPS, "id"), (FAILURES, "path"), (TOKENS, "id")):
                if name in self._tables:
                    self._delete(name, doubled_rows(self._tables[name], key), "_rowid")
            self._delete(FAILURES, self._known & self._failed)
            self._failed -= self._known
            self._remove_orphans()

    def _remove_orphans(self) -> None:
        """Delete the tokens of clips that have no row, left by an unfinished batch."""
        table = self._tables.get(TOKENS)
        if table is None or table.count_rows() == 0:
            return
        clips = {key for batch in scan(self._tables[CLIPS], ["id"]) for key in _ids(batch)}
        tokens = {key for batch in scan(table, ["id"]) for key in _ids(batch)}
        self._delete(TOKENS, tokens - clips, "id")


def _put(table: Any, rows: Any, replaces: bool, of_files: str | None = None) -> None:
    """Add rows atomically, replacing existing rows with the same key.

    Args:
        table: LanceDB's table, keyed by `id`.
        rows: Rows to write.
        replaces: Whether some of the keys may exist.
        of_files: Filter of existing rows to delete unless their keys are in `rows`.
    """
    if not replaces:
        table.add(rows)
        return
    merge = table.merge_insert("id").when_matched_update_all().when_not_matched_insert_all()
    if of_files is not None:
        merge = merge.when_not_matched_by_source_delete(of_files)
    merge.execute(rows)


def _age_of_unread(table: Any) -> timedelta:
    """The age of the versions that no reader needs: each was replaced longer ago than `_KEPT`."""
    now = datetime.now()
    ages = [now - version["timestamp"] for version in table.list_versions()]
    newest = min((age for age in ages if age >= _KEPT), default=_KEPT)  # was the last one then
    return newest + timedelta(seconds=1)  # for the time until LanceDB compares


def _ids(batch: Any) -> list[str]:
    ids: list[str] = batch.column("id").to_pylist()
    return ids
