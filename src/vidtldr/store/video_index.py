"""Read an index: what is in it, what failed, and how large it is.

Letters: `N` tokens.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vidtldr.store.lance import open_table, quoted, readable
from vidtldr.store.rows import FailureRow, FileState, KeptTokens
from vidtldr.store.schema import CLIPS, FAILURES, TOKENS
from vidtldr.store.settings import read_settings

__all__ = ["VideoIndex", "scan"]


class VideoIndex:
    """An index as it is now; reading needs no lock and disturbs no writer.

    Args:
        directory: Of the index.

    Attributes:
        settings: The model, the schedule and what else all rows have in common.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If its settings are damaged.
        ImportError: If LanceDB is not installed.
        OSError: If a table is damaged.
    """

    def __init__(self, directory: str | os.PathLike[str]) -> None:
        self.directory = Path(directory)
        self.settings = read_settings(self.directory)
        self._tables = {
            name: open_table(self.directory, name) for name in (CLIPS, FAILURES, TOKENS)
        }

    @property
    def clips(self) -> Any | None:
        """LanceDB's table of clips; None before the first commit."""
        return self._tables[CLIPS]

    @property
    def num_rows(self) -> int:
        """Clips."""
        return self._count(CLIPS)

    @property
    def num_failures(self) -> int:
        """Files that have no rows."""
        return self._count(FAILURES)

    @property
    def num_bytes(self) -> int:
        """Size on the disk."""
        total = 0
        for folder, _, names in os.walk(self.directory):
            for name in names:
                try:
                    total += os.lstat(os.path.join(folder, name)).st_size
                except FileNotFoundError:  # a writer cleans up
                    continue
        return total

    def known_files(self) -> dict[str, FileState]:
        """Every file with rows, by its stored path."""
        return {
            row["path"]: FileState(row["size_bytes"], row["mtime_ns"], row["sha256"])
            for row in self._scan(CLIPS, ["path", "size_bytes", "mtime_ns", "sha256"])
        }

    def failures(self) -> dict[str, FailureRow]:
        """Every file that failed, by its stored path."""
        columns = ["path", "size_bytes", "mtime_ns", "reason"]
        return {
            row["path"]: FailureRow(
                row["path"], FileState(row["size_bytes"], row["mtime_ns"]), row["reason"]
            )
            for row in self._scan(FAILURES, columns)
        }

    def rows(self, ids: Sequence[str]) -> dict[str, dict[str, Any]]:
        """The columns of some clips but their vectors, by id."""
        table = self.clips
        if table is None or not ids:
            return {}
        columns = [name for name in table.schema.names if name != "vector"]
        where = f"id IN ({', '.join(map(quoted, ids))})"
        return {row["id"]: row for row in self._scan(CLIPS, columns, where)}

    def tokens(self, ids: Sequence[str]) -> dict[str, KeptTokens]:
        """The visual tokens of some clips, by id; those that are kept."""
        if not ids:
            return {}
        where = f"id IN ({', '.join(map(quoted, ids))})"
        return {
            row["id"]: KeptTokens(
                np.frombuffer(row["tokens"], np.float16).reshape(row["num_tokens"], -1),
                None if row["mass"] is None else np.frombuffer(row["mass"], np.float32),
            )
            for row in self._scan(TOKENS, ["id", "num_tokens", "tokens", "mass"], where)
        }

    def token_ids(self) -> set[str]:
        """The clips whose tokens are kept."""
        return {row["id"] for row in self._scan(TOKENS, ["id"])}

    def _count(self, name: str) -> int:
        table = self._tables[name]
        if table is None:
            return 0
        with readable(self.directory):
            count: int = table.count_rows()
        return count

    def _scan(
        self, name: str, columns: Sequence[str], where: str | None = None
    ) -> Iterator[dict[str, Any]]:
        table = self._tables[name]
        if table is not None:
            with readable(self.directory):
                batches = scan(table, columns, where)
                for batch in batches:
                    yield from batch.to_pylist()


def scan(table: Any, columns: Sequence[str], where: str | None = None) -> Iterable[Any]:
    """Arrow batches of some columns of all rows, or of those that a filter lets through."""
    query = table.search().select(list(columns))
    if where is not None:
        query = query.where(where)
    batches: Iterable[Any] = query.limit(max(1, table.count_rows())).to_batches()
    return batches
