"""An approximate nearest-neighbour (ANN) index, for indexes too large to search exactly.

LanceDB clusters the vectors and stores a copy quantised to one byte per channel. A search probes
some of the clusters and re-scores the best candidates with the full vectors. The number of
clusters to probe is chosen when the index is built, from the measured recall.

Letters: `C` channels of a vector.
"""

import time
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vidtldr.files import read_json, write_json
from vidtldr.store.exact_search import ExactSearch, Hit
from vidtldr.store.filters import condition_of, count_where
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

#: Up to this many rows every search is exact, and no ANN index is built automatically.
EXACT_ROWS = 1_000_000
ANN_FILE = "ann.json"
WANTED_RECALL = 0.97
_PROBES = (10, 20, 40, 80, 160, 320, 640)
_REFINE = 5
_TOP = 10


@dataclass(frozen=True)
class AnnSettings:
    """How an approximate index is searched, and its measured recall and speed.

    Attributes:
        num_rows: Rows when it was built; rows added later are found too.
        num_probes: Clusters that a search probes.
        recall: Share of the exact ten nearest that it found (recall@10), over the sampled queries.
        search_ms: Median time of a search.
        exact_ms: Median time of an exact search, vectors in memory.
        build_seconds: Time to build it.
        num_queries: Rows sampled as queries; each is excluded from its own results.
    """

    num_rows: int
    num_probes: int
    recall: float
    search_ms: float
    exact_ms: float
    build_seconds: float
    num_queries: int


def read_ann_settings(index: VideoIndex) -> AnnSettings | None:
    """Read the settings of the approximate index; None if there is none, or they are damaged."""
    try:
        settings = AnnSettings(**read_json(index.directory / ANN_FILE))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValueError, TypeError):  # damaged: search is exact
        return None
    are_numbers = all(type(value) in (int, float) for value in asdict(settings).values())
    return settings if are_numbers and settings.num_probes in _PROBES else None


def is_ann_due(index: VideoIndex) -> bool:
    """Whether there are too many rows for exact search, or over twice as many as when built."""
    built = read_ann_settings(index)
    return index.num_rows > (EXACT_ROWS if built is None else 2 * built.num_rows)


def build_ann(
    index: VideoIndex,
    *,
    num_queries: int = 100,
    seed: int = 0,
    on_step: Callable[[str], object] = lambda _: None,
) -> AnnSettings:
    """Build the approximate index, measure its recall, and save its search settings.

    The caller must hold the index's writer lock.

    Args:
        index: The index, with at least 256 rows.
        num_queries: Rows to sample as queries.
        seed: Seed of the sampling.
        on_step: Called with the name of each step.

    Raises:
        ValueError: If there are too few rows.
        OSError: If the index is damaged or the disk is full.
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
    write_json(index.directory / ANN_FILE, asdict(settings))
    return settings


class AnnSearch:
    """Searches with the approximate index.

    Args:
        index: The index to search.
        where: SQL filter on the clips; None for all.
        num_probes: Clusters to probe; None for the number chosen when it was built.

    Raises:
        ValueError: If `where` is not a valid filter.
    """

    def __init__(
        self, index: VideoIndex, where: str | None = None, num_probes: int | None = None
    ) -> None:
        settings = read_ann_settings(index)
        self._num_probes = num_probes or (settings.num_probes if settings else _PROBES[-1])
        self._index = index
        self._condition = None if where is None else condition_of(where)
        count_where(index, where)

    def search(self, query: NDArray[np.float32], top: int) -> list[Hit]:
        """Find the clips nearest to a query, best first; some may be missed.

        Args:
            query: Shape (C,), of any non-zero norm.
            top: Maximum number of hits, at least 1.
        """
        rows = self._index.retried(lambda: self._nearest(query, top))
        return [Hit(row["id"], max(-1.0, 1.0 - row["_distance"])) for row in rows]

    def _nearest(self, query: NDArray[np.float32], top: int) -> list[dict[str, Any]]:
        table: Any = self._index.clips
        with readable(self._index.directory), warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            search = table.search(query, vector_column_name="vector").distance_type("cosine")
            if self._condition is not None:
                search = search.where(self._condition)
            search = search.nprobes(self._num_probes).refine_factor(_REFINE)
            rows: list[dict[str, Any]] = (
                search.limit(top).select(["id", "_distance"]).to_arrow().to_pylist()
            )
        return rows


def _timed(
    search: Callable[[NDArray[np.float32], int], list[Hit]],
    queries: list[tuple[str, NDArray[np.float32]]],
) -> tuple[list[set[str]], float]:
    """The ids each query finds, except its own, and the median time in ms."""
    found, times = [], []
    for key, query in queries:
        start = time.perf_counter()
        hits = search(query, _TOP + 1)
        times.append(1000 * (time.perf_counter() - start))
        found.append(set([hit.id for hit in hits if hit.id != key][:_TOP]))
    return found, float(np.median(times))
