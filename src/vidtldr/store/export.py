"""Write the rows of an index to a Parquet file."""

import json
import os
import uuid
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from vidtldr.store.lance import readable
from vidtldr.store.schema import CLIPS, schema_of
from vidtldr.store.video_index import VideoIndex, scan

__all__ = ["export_parquet"]


def export_parquet(
    index: VideoIndex,
    path: str | os.PathLike[str],
    on_step: Callable[[int], object] = lambda _: None,
) -> int:
    """Write all rows with all columns; the file appears when it is complete.

    The settings of the index are in the file's schema, as JSON under the key `vidtldr`.

    Args:
        index: What to write.
        path: The file; replaced if it is there.
        on_step: Called with the number of rows just written.

    Returns:
        Rows written.

    Raises:
        OSError: If the file cannot be written, or the index is damaged.
    """
    import pyarrow as pa
    from pyarrow import parquet

    path = Path(path)
    about = {"vidtldr": json.dumps(asdict(index.settings))}
    schema = schema_of(CLIPS, index.settings.num_channels).with_metadata(about)
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex}.partial")
    count = 0
    try:
        with parquet.ParquetWriter(partial, schema) as writer:
            if index.clips is not None:
                with readable(index.directory):
                    batches = iter(scan(index.clips, schema.names))
                    while (batch := next(batches, None)) is not None:
                        table = pa.Table.from_batches([batch]).cast(schema)
                        writer.write_table(table)
                        count += len(batch)
                        on_step(len(batch))
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    return count
