"""Write video embeddings to a Parquet file; pyarrow is imported on the first write."""

import os
from collections.abc import Iterable, Mapping
from importlib import import_module
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vidtldr.files import whole_file

if TYPE_CHECKING:
    from vidtldr.tasks.embed import EmbeddedVideo

__all__ = ["require_pyarrow", "write_parquet"]

NUM_ROWS_A_GROUP = 1024


def require_pyarrow() -> Any:
    """Import pyarrow, so that a missing installation is noticed before any video is read.

    Raises:
        ImportError: If it is not installed.
    """
    try:
        pyarrow = import_module("pyarrow")
        import_module("pyarrow.parquet")
    except ImportError as error:
        raise ImportError(
            "Parquet files need pyarrow, which is not installed. Run: pip install 'vidtldr[search]'"
        ) from error
    return pyarrow


def write_parquet(
    rows: Iterable["EmbeddedVideo"],
    path: str | os.PathLike[str],
    *,
    num_channels: int,
    about: Mapping[str, str] | None = None,
) -> int:
    r"""Write rows as they arrive; the file appears only once it is complete.

    Columns: `id` and `path` (string), `seconds` (double), `vector` (fixed size list of float) and
    `error` (string). Missing values are null. Bytes of a path that are not UTF-8 are written as
    `\xNN`, see `vidtldr.store.rows.storable`.

    Args:
        rows: As from `embed_videos`.
        path: The file; replaced if it exists.
        num_channels: Length of the vectors.
        about: Metadata for the file's schema, such as the model and the schedule.

    Returns:
        Rows written.

    Raises:
        ImportError: If pyarrow is not installed.
        OSError: If the file cannot be written.
    """
    pa = require_pyarrow()
    path = Path(path)
    vector = pa.list_(pa.float32(), num_channels)
    kinds = (pa.string(), pa.string(), pa.float64(), vector, pa.string())
    names = ("id", "path", "seconds", "vector", "error")
    schema = pa.schema(list(zip(names, kinds, strict=True)), metadata=dict(about or {}))
    count = 0
    with whole_file(path) as partial, pa.parquet.ParquetWriter(partial, schema) as writer:
        rest = iter(rows)
        while group := list(islice(rest, NUM_ROWS_A_GROUP)):
            writer.write_table(pa.Table.from_pylist([_fields(row) for row in group], schema))
            count += len(group)
    return count


def _fields(row: "EmbeddedVideo") -> dict[str, Any]:
    from vidtldr.store.rows import storable  # imports numpy, which checks of options do without

    return {
        "id": row.id,
        "path": storable(row.path),
        "seconds": row.seconds,
        "vector": None if row.vector is None else row.vector.tolist(),
        "error": row.error,
    }
