"""Metrics of a ranking.

Letters: `Q` queries, `C` candidates.

The authors' result keys, and ours: `txt_r1` is `video_to_text.r1`, `img_r1` is `text_to_video.r1`,
`txt_r_mean` and `img_r_mean` are `mean_recall` of each direction, `r_mean` is the mean of the two.
The paper's number is `mean_r1`.
"""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Recall", "RetrievalMetrics", "accuracy", "best_ranks", "recall", "retrieval_metrics"]


@dataclass(frozen=True)
class Recall:
    """Retrieval in one direction; percentages are not rounded.

    Attributes:
        r1: Percent of queries with a right answer ranked first.
        r5: The same among the first 5.
        r10: The same among the first 10.
        mean_recall: Arithmetic mean of the three.
        median_rank: Median over queries of the best right answer's rank, from 1; None if it
            depends on queries that cannot be found at all.
        num_queries: Number of queries.
        num_lost: Queries that cannot be found, as no right candidate could be decoded.
    """

    r1: float
    r5: float
    r10: float
    mean_recall: float
    median_rank: float | None
    num_queries: int
    num_lost: int


@dataclass(frozen=True)
class RetrievalMetrics:
    """Retrieval in both directions.

    Attributes:
        text_to_video: A text looks for its video.
        video_to_text: A video looks for its text.
        mean_r1: Arithmetic mean of both directions' R@1, the paper's number.
        mean_r5: The same of R@5.
        mean_r10: The same of R@10.
    """

    text_to_video: Recall
    video_to_text: Recall
    mean_r1: float
    mean_r5: float
    mean_r10: float


def best_ranks(scores: Tensor, right: Sequence[Sequence[int]]) -> list[float]:
    """Rank the best right candidate of each query, from 1.

    Ties rank in the order of the candidates. They do occur: captions repeat, above all in MSVD.
    The authors' program leaves their order to numpy's unstable sort, so there it differs between
    machines; ours is one of the orders that theirs may take.

    Args:
        scores: Higher is better, shape (Q, C). `-inf` marks pairs that could not be scored.
        right: For each query, the indices of its right candidates, at least one.

    Returns:
        A rank for each query; infinity where no right candidate could be scored.

    Raises:
        ValueError: If there is not one list per query, a list is empty, or a score is NaN.
    """
    if len(right) != len(scores) or not all(right):
        raise ValueError(
            f"right must have an answer for each of {len(scores)} queries, got {len(right)} lists"
            f"{' and an empty one' if not all(right) else ''}. Name the right candidates."
        )
    if scores.isnan().any():
        raise ValueError("scores must be numbers, got NaN. Use float32.")
    ranks = []
    for row, answers in zip(scores, right, strict=True):
        chosen = torch.tensor(sorted(answers))
        best = row[chosen].max()
        first = int(chosen[row[chosen] == best][0])
        ahead = int((row > best).sum() + (row[:first] == best).sum())
        ranks.append(math.inf if best == -math.inf else 1.0 + ahead)
    return ranks


def recall(ranks: Sequence[float]) -> Recall:
    """Summarise the ranks of at least one query.

    Raises:
        ValueError: If there are none.
    """
    if not ranks:
        raise ValueError("ranks must be of at least one query, got none. Check the annotations.")
    r1, r5, r10 = (100 * sum(rank <= k for rank in ranks) / len(ranks) for k in (1, 5, 10))
    median = statistics.median(ranks)
    return Recall(
        r1,
        r5,
        r10,
        (r1 + r5 + r10) / 3,
        median if math.isfinite(median) else None,
        len(ranks),
        sum(map(math.isinf, ranks)),
    )


def retrieval_metrics(text_to_video: Recall, video_to_text: Recall) -> RetrievalMetrics:
    """Combine both directions with their arithmetic means."""
    both = (text_to_video, video_to_text)
    return RetrievalMetrics(
        text_to_video,
        video_to_text,
        sum(part.r1 for part in both) / 2,
        sum(part.r5 for part in both) / 2,
        sum(part.r10 for part in both) / 2,
    )


def accuracy(is_right: Sequence[bool]) -> float:
    """Percent of answers that are right, not rounded.

    Raises:
        ValueError: If there are none.
    """
    if not is_right:
        raise ValueError("answers must be at least one, got none. Check the annotations.")
    return 100 * sum(is_right) / len(is_right)
