"""Find the nearest of all vectors, exactly: one matrix product.

Letters: `C` channels of a vector.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vidtldr.store.lance import readable
from vidtldr.store.video_index import VideoIndex, scan

__all__ = ["ExactSearch", "Hit"]


@dataclass(frozen=True)
class Hit:
    """A clip near to a query.

    Attributes:
        id: Key of the clip.
        score: Cosine of the two vectors, in [-1, 1].
    """

    id: str
    score: float


class ExactSearch:
    """The vectors of an index in memory, 4 bytes a channel, so 2 GB for a million of 512.

    Args:
        index: Where the vectors are; read once.
        where: Only clips that this condition holds for, in SQL, such as "seconds > 5".

    Attributes:
        num_rows: Vectors.

    Raises:
        ValueError: If the condition is none, or names a column that is not there.
        OSError: If the index is damaged.
    """

    def __init__(self, index: VideoIndex, where: str | None = None) -> None:
        table = index.clips
        num_channels = index.settings.num_channels
        num_rows = 0 if table is None else count_where(index, where)
        self._vectors = np.empty((num_rows, num_channels), np.float32)
        self._ids: list[Any] = []
        filled = 0
        if num_rows:
            with readable(index.directory):
                for batch in scan(table, ["id", "vector"], where):
                    values = batch.column("vector").flatten().to_numpy()
                    part = values.reshape(-1, num_channels)[: num_rows - filled]
                    self._vectors[filled : filled + len(part)] = part
                    # A copy: the column alone would keep the whole batch with its vectors.
                    self._ids.append(batch.column("id").take(np.arange(len(part))))
                    filled += len(part)
        self.num_rows = filled
        self._vectors = self._vectors[:filled]
        norms = np.sqrt(np.einsum("ij,ij->i", self._vectors, self._vectors))
        self._inverse_norms = 1 / np.maximum(norms, np.finfo(np.float32).tiny)
        self._starts = np.cumsum([0, *map(len, self._ids)])

    def search(self, query: NDArray[np.float32], top: int) -> list[Hit]:
        """The clips nearest to a query, best first; equal scores in the order of their keys.

        Args:
            query: Shape (C,), of any length but 0.
            top: How many at most, at least 1.

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
            positions = np.flatnonzero(scores >= least)  # all that are equal, to choose by key
        else:
            positions = np.arange(len(scores))
        hits = [Hit(self._id(int(position)), float(scores[position])) for position in positions]
        return sorted(hits, key=lambda hit: (-hit.score, hit.id))[:top]

    def sample(self, count: int, seed: int = 0) -> list[tuple[str, NDArray[np.float32]]]:
        """Draw some rows: key and vector of each, all different, at most as many as there are."""
        chosen = np.random.default_rng(seed).choice(
            self.num_rows, min(count, self.num_rows), replace=False
        )
        return [(self._id(int(position)), self._vectors[position].copy()) for position in chosen]

    def _id(self, position: int) -> str:
        part = int(np.searchsorted(self._starts, position, side="right")) - 1
        key: str = self._ids[part][int(position - self._starts[part])].as_py()
        return key


def count_where(index: VideoIndex, where: str | None) -> int:
    """Clips that a condition holds for.

    Raises:
        ValueError: If it is none, or names a column that is not there.
    """
    table = index.clips
    if table is None:
        return 0
    if where is None:
        return index.num_rows
    try:
        count: int = table.count_rows(where)
    except Exception as error:  # whatever a condition that makes no sense makes LanceDB raise
        columns = ", ".join(name for name in table.schema.names if name != "vector")
        raise ValueError(
            f"filter must be a condition on the columns {columns}, got {where!r} "
            f'({" ".join(str(error).split())[:160]}). Write, for example, "seconds > 5".'
        ) from error
    return count
