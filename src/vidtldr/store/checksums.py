"""Checksums of rows, and a record of what each table holds, by which damage is noticed.

LanceDB checks neither: a flipped bit of a vector is read as another vector, and without its newest
version a table is what it was one commit before.

Letters: `C` channels of a vector.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from vidtldr.files import read_json, write_json

__all__ = [
    "CHECKSUM",
    "RECORD_FILE",
    "TableState",
    "read_record",
    "row_checksums",
    "vectors_of",
    "write_record",
]

#: Column of every table; null in rows that an older version of this package wrote.
CHECKSUM = "checksum"
RECORD_FILE = "tables.json"
_NUM_BYTES = 8


@dataclass(frozen=True)
class TableState:
    """What a table holds.

    Attributes:
        version: LanceDB's number of the table's version.
        num_rows: Number of rows.
        digest: Sum of the rows' checksums modulo 2**64, from 0.
    """

    version: int
    num_rows: int
    digest: int

    @classmethod
    def of(cls, version: int, checksums: Iterable[Any]) -> Self:
        """Build the state from the checksum column's Arrow arrays; a null counts as 0."""
        num_rows = digest = 0
        for part in checksums:
            values = part.fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64)
            num_rows += len(values)
            digest += int(values.view(np.uint64).sum(dtype=np.uint64))
        return cls(version, num_rows, digest % 2 ** (8 * _NUM_BYTES))


def row_checksums(rows: Any) -> Any:
    """Compute the checksum of each row over all columns but the checksum itself; nulls are skipped.

    Args:
        rows: An Arrow table or record batch.

    Returns:
        An Arrow array, int64.
    """
    import pyarrow as pa

    names = sorted(name for name in rows.schema.names if name != CHECKSUM)
    columns = [_plain_values(rows.column(name)) for name in names]
    sums = [_checksum(names, values) for values in zip(*columns, strict=True)]
    return pa.array(sums, pa.int64())


def vectors_of(column: Any) -> NDArray[np.float32]:
    """The vectors of an Arrow column, shape (rows, C)."""
    chunks = getattr(column, "chunks", [column])
    parts = [chunk.flatten().to_numpy(zero_copy_only=False) for chunk in chunks]
    return np.concatenate(parts).reshape(len(column), -1)


def read_record(directory: Path) -> dict[str, TableState]:
    """Read the state of each table after the last commit; empty if an older version wrote it.

    Raises:
        ValueError: If the file is damaged.
    """
    path = directory / RECORD_FILE
    try:
        values = read_json(path)
        states = {name: TableState(**state) for name, state in values.items()}
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (ValueError, TypeError, AttributeError) as error:
        raise _damaged(path, str(error)) from error
    if not all(type(number) is int for state in states.values() for number in vars(state).values()):
        raise _damaged(path, "a value is not a whole number")
    return states


def write_record(directory: Path, states: Mapping[str, TableState]) -> None:
    """Write the state of each table atomically.

    Raises:
        OSError: If it cannot be written.
    """
    write_json(directory / RECORD_FILE, {name: asdict(state) for name, state in states.items()})


def _plain_values(column: Any) -> list[Any]:
    import pyarrow as pa

    if pa.types.is_fixed_size_list(column.type):
        return [vector.tobytes() for vector in vectors_of(column)]
    if pa.types.is_timestamp(column.type):  # its Python value depends on what is installed
        column = column.cast(pa.int64())
    values: list[Any] = column.to_pylist()
    return values


def _checksum(names: list[str], values: tuple[Any, ...]) -> int:
    digest = hashlib.blake2b(digest_size=_NUM_BYTES)
    for name, value in zip(names, values, strict=True):
        if value is not None:
            if not isinstance(value, bytes):
                value = (value if isinstance(value, str) else repr(value)).encode()
            digest.update(f"{name} {len(value)} ".encode())
            digest.update(value)
    return int.from_bytes(digest.digest(), "little", signed=True)


def _damaged(path: Path, reason: str) -> ValueError:
    return ValueError(
        f"an index must have its record of tables in {str(path)!r}, got a damaged file ({reason}). "
        "Bring back a copy of it, or delete it: index add then makes it again."
    )
