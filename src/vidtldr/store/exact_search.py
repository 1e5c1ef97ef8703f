"""Exact nearest-neighbour search: one matrix product over all vectors.

Letters: `C` channels of a vector.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vidtldr.store.checksums import vectors_of
from vidtldr.store.filters import condition_of, count_where
from vidtldr.store.lance import readable
from vidtldr.store.schema import CLIPS
from vidtldr.store.video_index import VideoIndex

__all__ = ["ExactSearch", "Hit"]


@dataclass(frozen=True)
class Hit:
    """A clip near a query.

    Attributes:
        id: Key of the clip.
        score: Cosine of the two vectors, in [-1, 1].
    """

    id: str
    score: float


class ExactSearch:
    """The vectors of an index in memory, 4 bytes per channel: 2 GB for a million of 512 channels.

    Args:
        index: The index; its vectors are read once.
        where: SQL filter on the clips, such as "seconds > 5".

    Attributes:
        num_rows: Number of vectors.

    Raises:
        ValueError: If the filter is invalid or names an unknown column.
        OSError: If the index is damaged.
    """

    def __init__(self, index: VideoIndex, where: str | None = None) -> None:
        self._vectors, self._ids = index.retried(lambda: _read(index, where))
        self.num_rows = len(self._vectors)
        norms = np.sqrt(np.einsum("ij,ij->i", self._vectors, self._vectors))
        self._inverse_norms = 1 / np.maximum(norms, np.finfo(np.float32).tiny)
        self._starts = np.cumsum([0, *map(len, self._ids)])

    def search(self, query: NDArray[np.float32], top: int) -> list[Hit]:
        """Find the clips nearest to a query, best first; ties are ordered by key.

        Args:
            query: Shape (C,), of any non-zero norm.
            top: Maximum number of hits, at least 1.

        Raises:
            ValueError: If the query is not (C,), or `top` is below 1.
        """
        if query.shape != self._vectors.shape[1:]:
            raise ValueError(
                f"query must be ({self._vectors.shape[1]},) as the index's vectors, got "
                f"{query.shape}. Use the model that the index was made with."
            )
        if top < 1:
            raise ValueError(f"top must be at least 1, got {top}. Ask for one or more.")
        scores = self._vectors @ (query / np.linalg.norm(query)).astype(np.float32)
        scores = np.clip(scores * self._inverse_norms, -1, 1)
        if top < len(scores):
            least = np.partition(scores, -top)[-top]
            positions = np.flatnonzero(scores >= least)  # all ties, to be ordered by key
        else:
            positions = np.arange(len(scores))
        hits = [Hit(self._id(int(position)), float(scores[position])) for position in positions]
        return sorted(hits, key=lambda hit: (-hit.score, hit.id))[:top]

    def sample(self, count: int, seed: int = 0) -> list[tuple[str, NDArray[np.float32]]]:
        """Sample up to `count` rows without replacement: the key and vector of each."""
        chosen = np.random.default_rng(seed).choice(
            self.num_rows, min(count, self.num_rows), replace=False
        )
        return [(self._id(int(position)), self._vectors[position].copy()) for position in chosen]

    def _id(self, position: int) -> str:
        part = int(np.searchsorted(self._starts, position, side="right")) - 1
        key: str = self._ids[part][int(position - self._starts[part])].as_py()
        return key


def _read(index: VideoIndex, where: str | None) -> tuple[NDArray[np.float32], list[Any]]:
    """The vectors, and their keys in Arrow arrays."""
    num_rows, num_channels = count_where(index, where), index.settings.num_channels
    vectors = np.empty((num_rows, num_channels), np.float32)
    ids = []
    filled = 0
    for batch in index.batches(CLIPS, ["id", "vector"], where and condition_of(where)):
        with readable(index.directory):
            part = vectors_of(batch.column("vector"))[: num_rows - filled]
            vectors[filled : filled + len(part)] = part
            # Copied: the column alone would keep the whole batch alive, vectors included.
            ids.append(batch.column("id").take(np.arange(len(part))))
        filled += len(part)
    return vectors[:filled], ids
