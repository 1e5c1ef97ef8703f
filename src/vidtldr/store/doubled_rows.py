"""Find rows that two writers wrote, each without knowing of the other."""

from collections import defaultdict
from typing import Any

__all__ = ["doubled_rows"]


def doubled_rows(table: Any, key: str) -> list[int]:
    """Find rows to delete so that no key is there twice.

    The newest row of a key stays. Where a file's rows are doubled, so do its older rows go, which
    may be of other content.

    Args:
        table: LanceDB's table.
        key: The column that must be unique.

    Returns:
        Values of LanceDB's column `_rowid`.
    """
    columns = {key, *({"path", "indexed_at"} & set(table.schema.names))}
    query = table.search().with_row_id(True).select([*sorted(columns), "_rowid"])
    rows = query.limit(max(1, table.count_rows())).to_arrow()
    if len(rows) == len(rows.column(key).unique()):
        return []
    by_file: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in rows.to_pylist():
        by_file[row.get("path", row[key])].append(row)
    return [row_id for rows in by_file.values() for row_id in _doubled(rows, key)]


def _doubled(rows: list[dict[str, Any]], key: str) -> set[int]:
    """Row ids to delete among the rows of one file."""
    if len({row[key] for row in rows}) == len(rows):
        return set()
    newest = max(row.get("indexed_at", 0) for row in rows)
    kept = {row[key]: row["_rowid"] for row in rows if row.get("indexed_at", 0) == newest}
    return {row["_rowid"] for row in rows} - set(kept.values())
