"""Nearest clips to a vector: exact, or by the ANN index if there is one.

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

    Without an ANN index (see `ann`), the vectors are read into memory once and every search is
    exact.

    Args:
        index: The index to search.
        where: SQL filter on the clips; None for all.

    Attributes:
        is_exact: Whether search is exact, so that no clip can be missed.

    Raises:
        ValueError: If `where` is not a valid filter.
        OSError: If the index is damaged.
    """

    def __init__(self, index: VideoIndex, where: str | None = None) -> None:
        self.is_exact = read_ann_settings(index) is None
        self._search: ExactSearch | AnnSearch
        self._search = ExactSearch(index, where) if self.is_exact else AnnSearch(index, where)

    def search(self, query: NDArray[np.float32], top: int) -> list[Hit]:
        """Find the clips nearest to a query, best first.

        Args:
            query: Shape (C,), of any non-zero norm.
            top: Maximum number of hits, at least 1.
        """
        return self._search.search(query, top)
