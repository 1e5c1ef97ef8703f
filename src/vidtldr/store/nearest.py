"""The clips nearest to a vector: exactly, or by an ANN index where there is one.

Letters: `C` channels of a vector.
"""

import numpy as np
from numpy.typing import NDArray

from vidtldr.store.ann import AnnSearch, read_ann_settings
from vidtldr.store.exact_search import ExactSearch, Hit
from vidtldr.store.video_index import VideoIndex

__all__ = ["NearestClips"]


class NearestClips:
    """Searches the vectors of an index.

    Without an ANN index (see `ann`) the vectors are read into memory once, and every search is
    exact.

    Args:
        index: Where to look.
        where: Only clips for which this holds, in SQL.

    Attributes:
        is_exact: Whether nothing can be missed.

    Raises:
        ValueError: If `where` is no condition on the columns.
        OSError: If the index is damaged.
    """

    def __init__(self, index: VideoIndex, where: str | None = None) -> None:
        self.is_exact = read_ann_settings(index) is None
        self._search: ExactSearch | AnnSearch
        self._search = ExactSearch(index, where) if self.is_exact else AnnSearch(index, where)

    def search(self, query: NDArray[np.float32], top: int) -> list[Hit]:
        """The clips nearest to a query, best first.

        Args:
            query: Shape (C,), of any length but 0.
            top: How many at most, at least 1.
        """
        return self._search.search(query, top)
