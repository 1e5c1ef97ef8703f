"""An approximate index of the vectors, for more rows than one wants to read for a search.

LanceDB clusters the vectors, stores a byte a channel beside them, and a search looks into some of
the clusters and compares the best of them by their true vectors. How many clusters is chosen when
the index is built, by the recall that is measured.

Letters: `C` channels of a vector.
"""

import json
import time
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vidtldr.store.exact_search import ExactSearch, Hit, count_where
from vidtldr.store.lance import readable
from vidtldr.store.video_index import VideoIndex

__all__ = [
    "EXACT_ROWS",
    "AnnSearch",
    "AnnSettings",
    "build_ann",
    "is_ann_due",
    "read_ann_settings",
]

#: Up to so many rows every search is exact, and no index is built by itself.
EXACT_ROWS = 1_000_000
ANN_FILE = "ann.json"
WANTED_RECALL = 0.97
_PROBES = (10, 20, 40, 80, 160, 320, 640)
_REFINE = 5
_TOP = 10


@dataclass(frozen=True)
class AnnSettings:
    """How an approximate index is searched, and what it was measured to find.

    Attributes:
        num_rows: Rows when it was built; later ones are found, too.
        num_probes: Clusters that a search looks into.
        recall: Share of the exact ten nearest that it found, over the sampled queries.
        search_ms: Median time of a search.
        exact_ms: Median time of an exact search, vectors in memory.
        build_seconds: Time to build it.
        num_queries: Rows that were drawn as queries, each without itself among its answers.
    """

    num_rows: int
    num_probes: int
    recall: float
    search_ms: float
    exact_ms: float
    build_seconds: float
    num_queries: int


def read_ann_settings(index: VideoIndex) -> AnnSettings | None:
    """How the approximate index is searched; None if there is none."""
    try:
        values = json.loads((index.directory / ANN_FILE).read_text(encoding="utf-8"))
        return AnnSettings(**values)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValueError, TypeError):  # damaged: exact search needs nothing of it
        return None


def is_ann_due(index: VideoIndex) -> bool:
    """Whether there are too many rows to search exactly, or twice those it was built for."""
    built = read_ann_settings(index)
    return index.num_rows > (EXACT_ROWS if built is None else 2 * built.num_rows)


def build_ann(
    index: VideoIndex,
    *,
    num_queries: int = 100,
    seed: int = 0,
    on_step: Callable[[str], object] = lambda _: None,
) -> AnnSettings:
    """Build the approximate index, measure what it finds, and note how to search it.

    Whoever calls this must be the writer of the index.

    Args:
        index: The index, with at least 256 rows.
        num_queries: Rows to draw as queries.
        seed: Of the draw.
        on_step: Called with what is being done.

    Raises:
        ValueError: If there are too few rows.
        OSError: If the index is damaged or the disk full.
    """
    if index.num_rows < 256:
        raise ValueError(
            f"an approximate index must have at least 256 rows, got {index.num_rows}. Search "
            "exactly: it takes no time."
        )
    from lancedb.index import IvfSq

    start = time.perf_counter()
    on_step("clustering the vectors")
    table: Any = index.clips
    with readable(index.directory):
        table.create_index("vector", config=IvfSq(distance_type="cosine"), replace=True)
    build_seconds = time.perf_counter() - start
    on_step("measuring the recall")
    exact = ExactSearch(index)
    queries = exact.sample(num_queries, seed)
    truth, exact_ms = _timed(exact.search, queries)
    for num_probes in _PROBES:
        ann = AnnSearch(index, num_probes=num_probes)
        found, search_ms = _timed(ann.search, queries)
        recall = float(np.mean([len(a & b) / len(b) for a, b in zip(found, truth, strict=True)]))
        if recall >= WANTED_RECALL:
            break
    settings = AnnSettings(
        index.num_rows, num_probes, recall, search_ms, exact_ms, build_seconds, len(queries)
    )
    text = json.dumps(asdict(settings), indent=2) + "\n"
    (index.directory / ANN_FILE).write_text(text, encoding="utf-8")
    return settings


class AnnSearch:
    """Searches by the approximate index.

    Args:
        index: Where the vectors are.
        where: Only clips for which this holds, in SQL.
        num_probes: Clusters to look into; None as measured.

    Raises:
        ValueError: If `where` is no condition on the columns.
    """

    def __init__(
        self, index: VideoIndex, where: str | None = None, num_probes: int | None = None
    ) -> None:
        settings = read_ann_settings(index)
        self._num_probes = num_probes or (settings.num_probes if settings else _PROBES[-1])
        self._index, self._where = index, where
        count_where(index, where)

    def search(self, query: NDArray[np.float32], top: int) -> list[Hit]:
        """The clips nearest to a query, best first, some of them possibly missed.

        Args:
            query: Shape (C,), of any length but 0.
            top: How many at most, at least 1.
        """
        table: Any = self._index.clips
        with readable(self._index.directory), warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            search = table.search(query, vector_column_name="vector").distance_type("cosine")
            if self._where is not None:
                search = search.where(self._where)
            search = search.nprobes(self._num_probes).refine_factor(_REFINE)
            rows = search.limit(top).select(["id", "_distance"]).to_arrow().to_pylist()
        return [Hit(row["id"], max(-1.0, 1.0 - row["_distance"])) for row in rows]


def _timed(
    search: Callable[[NDArray[np.float32], int], list[Hit]],
    queries: list[tuple[str, NDArray[np.float32]]],
) -> tuple[list[set[str]], float]:
    """What each query finds but itself, and the median time in ms."""
    found, times = [], []
    for key, query in queries:
        start = time.perf_counter()
        hits = search(query, _TOP + 1)
        times.append(1000 * (time.perf_counter() - start))
        found.append(set([hit.id for hit in hits if hit.id != key][:_TOP]))
    return found, float(np.median(times))
