"""Schemas of the tables, and conversion of rows to Arrow tables."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np

import vidtldr
from vidtldr.store.checksums import CHECKSUM, row_checksums
from vidtldr.store.rows import FailureRow, VideoRows, clip_fields, clip_id, storable
from vidtldr.store.settings import IndexSettings

__all__ = [
    "CLIPS",
    "FAILURES",
    "TOKENS",
    "clip_table",
    "failure_table",
    "schema_of",
    "token_table",
    "with_checksums",
]

CLIPS, FAILURES, TOKENS = "clips", "failures", "tokens"


def schema_of(table: str, num_channels: int) -> Any:
    """The Arrow schema of a table; one that an older version made may lack the checksum."""
    import pyarrow as pa

    file = [("size_bytes", pa.int64()), ("mtime_ns", pa.int64())]
    time = ("indexed_at", pa.timestamp("us", tz="UTC"))
    checksum = (CHECKSUM, pa.int64())
    if table == FAILURES:
        return pa.schema([("path", pa.string()), *file, ("reason", pa.string()), time, checksum])
    if table == TOKENS:
        return pa.schema(
            [
                ("id", pa.string()),
                ("num_tokens", pa.int32()),
                ("tokens", pa.large_binary()),
                ("mass", pa.large_binary()),
                checksum,
            ]
        )
    return pa.schema(
        [
            ("id", pa.string()),
            ("path", pa.string()),
            ("start_seconds", pa.float64()),
            ("end_seconds", pa.float64()),
            ("seconds", pa.float64()),
            ("width", pa.int32()),
            ("height", pa.int32()),
            ("codec", pa.string()),
            ("notes", pa.string()),
            ("sha256", pa.string()),
            *file,
            ("model", pa.string()),
            ("schedule", pa.string()),
            ("version", pa.string()),
            time,
            ("vector", pa.list_(pa.float32(), num_channels)),
            checksum,
        ]
    )


def clip_table(videos: Sequence[VideoRows], settings: IndexSettings) -> Any:
    """Build the table of clips of some videos."""
    import pyarrow as pa

    common = {
        "model": settings.model,
        "schedule": settings.schedule,
        "version": vidtldr.__version__,
        "indexed_at": datetime.now(UTC),
    }
    rows = [fields | common for video in videos for fields in clip_fields(video)]
    schema = schema_of(CLIPS, settings.num_channels)
    vectors = np.stack([clip.vector for video in videos for clip in video.clips])
    flat = pa.array(np.ascontiguousarray(vectors, dtype=np.float32).reshape(-1))
    columns = {
        name: pa.array([row[name] for row in rows], schema.field(name).type)
        for name in schema.names
        if name not in ("vector", CHECKSUM)
    }
    columns["vector"] = pa.FixedSizeListArray.from_arrays(flat, settings.num_channels)
    return with_checksums(pa.table(columns))


def failure_table(failures: Iterable[FailureRow]) -> Any:
    """Build the table of failures."""
    import pyarrow as pa

    now = datetime.now(UTC)
    rows = [
        {
            "path": storable(row.path),
            "size_bytes": row.file.size_bytes,
            "mtime_ns": row.file.mtime_ns,
            "reason": row.reason,
            "indexed_at": now,
        }
        for row in failures
    ]
    return with_checksums(pa.Table.from_pylist(rows, schema_of(FAILURES, 0)))


def token_table(videos: Sequence[VideoRows]) -> Any:
    """Build the table of tokens of the clips that have them."""
    import pyarrow as pa

    rows = [
        {
            "id": clip_id(video.path, clip.start_seconds),
            "num_tokens": len(clip.tokens.x),
            "tokens": np.ascontiguousarray(clip.tokens.x, dtype=np.float16).tobytes(),
            "mass": None if clip.tokens.mass is None else clip.tokens.mass.tobytes(),
        }
        for video in videos
        for clip in video.clips
        if clip.tokens is not None
    ]
    return with_checksums(pa.Table.from_pylist(rows, schema_of(TOKENS, 0)))


def with_checksums(rows: Any) -> Any:
    """The rows of an Arrow table with their checksums computed anew, as the last column."""
    if CHECKSUM in rows.schema.names:
        rows = rows.drop_columns([CHECKSUM])
    return rows.append_column(CHECKSUM, row_checksums(rows))
