"""Index many videos, on one machine (`local`) or on a cluster (`ray`).

Files are found (`discover`), compared with the index (`plan`), read by worker processes
(`decode_worker`), encoded by one more process per GPU (`encode_worker`), and written by the one
process that holds the index's lock.
"""

from typing import TYPE_CHECKING

from vidtldr.lazy import lazy_names

if TYPE_CHECKING:
    from vidtldr.pipeline.discovery import discover
    from vidtldr.pipeline.local import index_videos
    from vidtldr.pipeline.ray import index_videos_with_ray
    from vidtldr.pipeline.request import IndexRequest, RunReport, request_for

__all__ = [
    "IndexRequest",
    "RunReport",
    "discover",
    "index_videos",
    "index_videos_with_ray",
    "request_for",
]

_HOMES = {
    "IndexRequest": "request",
    "RunReport": "request",
    "discover": "discovery",
    "index_videos": "local",
    "index_videos_with_ray": "ray",
    "request_for": "request",
}
__getattr__, __dir__ = lazy_names(
    __name__, {name: f"{__name__}.{module}" for name, module in _HOMES.items()}
)
