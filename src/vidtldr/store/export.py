"""Write the rows of an index to a Parquet file."""

import json
import os
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from vidtldr.files import whole_file
from vidtldr.store.checksums import CHECKSUM
from vidtldr.store.schema import CLIPS, schema_of
from vidtldr.store.video_index import VideoIndex

__all__ = ["export_parquet"]


def export_parquet(
    index: VideoIndex,
    path: str | os.PathLike[str],
    on_step: Callable[[int], object] = lambda _: None,
) -> int:
    """Write all rows and columns but checksums; the file appears only once it is complete.

    The index's settings are stored in the file's schema, as JSON under the key `vidtldr`.

    Args:
        index: The index to export.
        path: The file; replaced if it exists.
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
    schema = schema.remove(schema.get_field_index(CHECKSUM))

    def write() -> int:
        count = 0
        with whole_file(path) as partial, parquet.ParquetWriter(partial, schema) as writer:
            for batch in index.batches(CLIPS, schema.names):
                writer.write_table(pa.Table.from_batches([batch]).cast(schema))
                count += len(batch)
                on_step(len(batch))
        return count

    return index.retried(write)
