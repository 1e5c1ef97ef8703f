"""Read an index: its rows, its failures and its size.

Letters: `N` tokens.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

import numpy as np

from vidtldr.store.checksums import CHECKSUM, TableState, read_record, row_checksums
from vidtldr.store.lance import (
    DamagedIndexError,
    open_table,
    quoted,
    readable,
    validate_directory,
)
from vidtldr.store.rows import FailureRow, FileState, KeptTokens
from vidtldr.store.schema import CLIPS, FAILURES, TOKENS, schema_of
from vidtldr.store.settings import read_settings

__all__ = ["VideoIndex", "lost_version", "scan"]

_ResultT = TypeVar("_ResultT")
#: Rows of an Arrow batch: few with wide columns, so that it takes about 20 MB.
_ROWS_OF = {"tokens": 64, "vector": 8192}
_ROWS = 65536


class VideoIndex:
    """A snapshot of an index; reading takes no lock and does not block the writer.

    A writer that compacts deletes versions that were replaced more than two minutes ago. If that
    happens to this snapshot, the next read moves it to the newest version.

    Args:
        directory: The index's directory.

    Attributes:
        settings: The model, the schedule and whatever else all rows have in common.

    Raises:
        FileNotFoundError: If there is no index.
        ValueError: If its settings are damaged, or `directory` is an address.
        ImportError: If LanceDB is not installed.
        OSError: If a table is damaged.
    """

    def __init__(self, directory: str | os.PathLike[str]) -> None:
        self.directory = validate_directory(directory)
        self.settings = read_settings(self.directory)
        self._open()

    @property
    def clips(self) -> Any | None:
        """LanceDB's table of clips; None before the first commit."""
        return self._tables[CLIPS]

    def table(self, name: str) -> Any | None:
        """LanceDB's table of a name; None if there is none."""
        return self._tables[name]

    def recorded(self, name: str) -> TableState | None:
        """What a table must hold; None if it has changed since that was written, or never was."""
        table, state = self._tables[name], self._record.get(name)
        return state if table is not None and state and state.version == table.version else None

    def retried(self, read: Callable[[], _ResultT]) -> _ResultT:
        """Call a function that reads this index; if it fails, once more on the newest version.

        Raises:
            OSError: If the index is damaged.
        """
        try:
            return read()
        except DamagedIndexError:
            self._open()
        return read()

    def batches(self, name: str, columns: Sequence[str], where: str | None = None) -> Iterator[Any]:
        """Read some columns of a table in Arrow batches; call it inside `retried`.

        Raises:
            OSError: If the index is damaged.
        """
        table = self._tables[name]
        if table is not None:
            with readable(self.directory):
                yield from scan(table, columns, where)

    @property
    def num_rows(self) -> int:
        """Number of clips."""
        return self._count(CLIPS)

    @property
    def num_failures(self) -> int:
        """Number of files that failed and have no rows."""
        return self._count(FAILURES)

    @property
    def num_bytes(self) -> int:
        """Size on disk."""
        total = 0
        for folder, _, names in os.walk(self.directory):
            for name in names:
                try:
                    total += os.lstat(os.path.join(folder, name)).st_size
                except FileNotFoundError:  # deleted by a writer meanwhile
                    continue
        return total

    def known_files(self) -> dict[str, FileState]:
        """Every file with rows, by its stored path."""
        columns = ["path", "size_bytes", "mtime_ns", "sha256"]
        return self.retried(
            lambda: {
                row["path"]: FileState(row["size_bytes"], row["mtime_ns"], row["sha256"])
                for row in self._scan(CLIPS, columns)
            }
        )

    def failures(self) -> dict[str, FailureRow]:
        """Every file that failed, by its stored path."""
        columns = ["path", "size_bytes", "mtime_ns", "reason"]
        return self.retried(
            lambda: {
                row["path"]: FailureRow(
                    row["path"], FileState(row["size_bytes"], row["mtime_ns"]), row["reason"]
                )
                for row in self._scan(FAILURES, columns)
            }
        )

    def rows(self, ids: Sequence[str]) -> dict[str, dict[str, Any]]:
        """All columns of some clips except their vectors, by id.

        Raises:
            OSError: If one of these rows does not have its checksum.
        """
        table = self.clips
        if table is None or not ids:
            return {}
        return self.retried(
            lambda: {
                row["id"]: row
                for batch in self._checked(CLIPS, ids)
                for row in batch.drop_columns(["vector"]).to_pylist()
            }
        )

    def tokens(self, ids: Sequence[str]) -> dict[str, KeptTokens]:
        """The visual tokens of some clips, by id; clips without kept tokens are left out.

        Raises:
            OSError: If one of these rows does not have its checksum.
        """
        if not ids:
            return {}
        return self.retried(
            lambda: {
                row["id"]: KeptTokens(
                    np.frombuffer(row["tokens"], np.float16).reshape(row["num_tokens"], -1),
                    None if row["mass"] is None else np.frombuffer(row["mass"], np.float32),
                )
                for batch in self._checked(TOKENS, ids)
                for row in batch.to_pylist()
            }
        )

    def token_ids(self) -> set[str]:
        """The ids of the clips whose tokens are kept."""
        return self.retried(lambda: {row["id"] for row in self._scan(TOKENS, ["id"])})

    def _open(self) -> None:
        """Open the newest version of each table."""
        # Read before the tables, as a writer writes it after them: no table is older than it says.
        self._record = read_record(self.directory)
        self._tables = {
            name: open_table(self.directory, name) for name in (CLIPS, FAILURES, TOKENS)
        }
        for name, table in self._tables.items():
            if lost_version(table, self._record.get(name)):
                raise DamagedIndexError(
                    f"an index must be whole, got {str(self.directory)!r} without the newest "
                    f"version of its {name}. Bring back a copy of it, or add the same videos again "
                    "with vidtldr index add, which makes what is missing."
                )
            if table is not None:
                self._validate_schema(name, table.schema)

    def _validate_schema(self, name: str, schema: Any) -> None:
        """Check a table that may have been swapped for another, or for that of another index."""
        for field in schema_of(name, self.settings.num_channels):
            there = schema.get_field_index(field.name)
            is_optional = field.name == CHECKSUM and there < 0 and self.settings.format == 1
            if not is_optional and (there < 0 or schema.field(there).type != field.type):
                raise DamagedIndexError(
                    f"an index must be whole, got {str(self.directory)!r} whose {name} lack the "
                    f"column {field.name!r} of {field.type}. Bring back a copy of it, or index "
                    "into a new directory."
                )

    def _count(self, name: str) -> int:
        def count() -> int:
            table = self._tables[name]
            with readable(self.directory):
                return 0 if table is None else int(table.count_rows())

        return self.retried(count)

    def _checked(self, name: str, ids: Sequence[str]) -> Iterator[Any]:
        """Batches of some rows without their checksums, which are compared first.

        In an index of format 1 a row may have that of the row before it, so none is compared.
        """
        table = self._tables[name]
        columns = [] if table is None else table.schema.names
        for batch in self.batches(name, columns, f"id IN ({', '.join(map(quoted, ids))})"):
            if CHECKSUM not in columns:
                yield batch
                continue
            if self.settings.format > 1:
                with readable(self.directory):
                    is_whole = row_checksums(batch).equals(batch.column(CHECKSUM))
                if not is_whole:
                    raise DamagedIndexError(
                        f"an index must be whole, got {str(self.directory)!r} with a row in {name} "
                        "that does not have its checksum. Bring back a copy of it; vidtldr index "
                        "verify names the rows."
                    )
            yield batch.drop_columns([CHECKSUM])

    def _scan(
        self, name: str, columns: Sequence[str], where: str | None = None
    ) -> Iterator[dict[str, Any]]:
        for batch in self.batches(name, columns, where):
            with readable(self.directory):
                rows = batch.to_pylist()
            yield from rows


def lost_version(table: Any | None, recorded: TableState | None) -> bool:
    """Whether a table, None if it is missing, is older than its recorded state."""
    return recorded is not None and (table is None or table.version < recorded.version)


def scan(table: Any, columns: Sequence[str], where: str | None = None) -> Iterable[Any]:
    """Read some columns of all rows, or of those matching a filter, in Arrow batches."""
    query = table.search().select(list(columns))
    if where is not None:
        query = query.where(where)
    num_rows = min((_ROWS_OF.get(name, _ROWS) for name in columns), default=_ROWS)
    batches: Iterable[Any] = query.limit(max(1, table.count_rows())).to_batches(num_rows)
    return batches
