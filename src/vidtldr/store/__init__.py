"""An index of videos on disk: vectors, files and failures in LanceDB tables (extra `[search]`).

`video_index.VideoIndex` reads, `index_writer.IndexWriter` is the only writer, and
`exact_search.ExactSearch` searches. The package handles vectors and files, not models or decoders.
"""

from typing import TYPE_CHECKING

from vidtldr.lazy import lazy_names

if TYPE_CHECKING:
    from vidtldr.store.export import export_parquet
    from vidtldr.store.index_writer import IndexWriter
    from vidtldr.store.settings import IndexSettings
    from vidtldr.store.verify import verify_index
    from vidtldr.store.video_index import VideoIndex

__all__ = ["IndexSettings", "IndexWriter", "VideoIndex", "export_parquet", "verify_index"]

_HOMES = {
    "IndexSettings": "settings",
    "IndexWriter": "index_writer",
    "VideoIndex": "video_index",
    "export_parquet": "export",
    "verify_index": "verify",
}
__getattr__, __dir__ = lazy_names(
    __name__, {name: f"{__name__}.{module}" for name, module in _HOMES.items()}
)
