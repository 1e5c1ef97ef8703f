"""Score all videos against all texts: fast dual scores, then the best re-ranked by fusion.

Letters: `V` videos, `T` texts, `E` channels of the shared space, `N` tokens, `C` channels.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from vidtldr.evaluate.annotations import RetrievalSet
from vidtldr.evaluate.metrics import RetrievalMetrics, best_ranks, recall, retrieval_metrics
from vidtldr.models.umt.retrieval import UMTRetrieval
from vidtldr.models.umt.vision import VideoTokens
from vidtldr.tasks.text_features import EncodedTexts, match_scores

__all__ = ["Scores", "dual_scores", "measure", "rerank"]

NOT_RERANKED = -100.0
UNDECODABLE = -torch.inf


class Scores(NamedTuple):
    """Scores of both directions; those of a video that failed are `-inf`.

    Attributes:
        video_to_text: Scores of videos as queries, shape (V, T).
        text_to_video: Scores of texts as queries, shape (T, V).
    """

    video_to_text: Tensor
    text_to_video: Tensor


def dual_scores(videos: Sequence[Tensor | None], texts: EncodedTexts) -> Scores:
    """Score every video against every text by the cosine of their embeddings.

    Args:
        videos: Unit vector (E,) of each video; None for one that failed.
        texts: The encoded texts.
    """
    scores = torch.full((len(videos), len(texts)), UNDECODABLE)
    there = [index for index, video in enumerate(videos) if video is not None]
    if there:
        embeddings = torch.stack([video for video in videos if video is not None])
        # score distinct texts only: equal texts then have bitwise equal scores
        scores[there] = (embeddings @ texts.row_embeddings.T)[:, texts.rows]
    return Scores(scores, scores.T)


def rerank(
    model: UMTRetrieval,
    tokens_of: Callable[[int], VideoTokens],
    texts: EncodedTexts,
    dual: Scores,
    k: int,
    *,
    batch_size: int = 64,
    on_step: Callable[[], object] = lambda: None,
) -> Scores:
    """Score the best k candidates of every query with the fusion encoder, in both directions.

    All other pairs get -100. A pair has the same score in both directions, so the pairs of both
    are processed together, one video at a time: each pair is computed once, and only one video's
    tokens are needed at a time.

    Args:
        model: The model, on its device.
        tokens_of: Returns the tokens (N, C) of a video and their mass by its index; not called for
            videos that failed.
        texts: The encoded texts.
        dual: As from `dual_scores`. Ties keep the order of candidates.
        k: Candidates per query; all if there are fewer.
        batch_size: Texts per batch.
        on_step: Called after every video that did not fail, to show progress.
    """
    by_video = _best(dual.video_to_text, k)
    by_text = _best(dual.text_to_video, k).T
    there = dual.video_to_text != UNDECODABLE
    scores = torch.where(there, NOT_RERANKED, UNDECODABLE)
    result = Scores(scores.clone(), scores.T.clone())
    for video in there.any(dim=1).nonzero()[:, 0].tolist():
        pairs = (by_video[video] | by_text[video]).nonzero()[:, 0].tolist()
        found = torch.full((len(texts),), NOT_RERANKED)
        found[pairs] = match_scores(model, tokens_of(video), texts, pairs, batch_size=batch_size)
        result.video_to_text[video, by_video[video]] = found[by_video[video]]
        result.text_to_video[by_text[video], video] = found[by_text[video]]
        on_step()
    return result


def measure(scores: Scores, retrieval: RetrievalSet) -> RetrievalMetrics:
    """Compute the metrics of a set in both directions."""
    return retrieval_metrics(
        text_to_video=recall(best_ranks(scores.text_to_video, retrieval.videos_of_text)),
        video_to_text=recall(best_ranks(scores.video_to_text, retrieval.texts_of_video)),
    )


def _best(scores: Tensor, k: int) -> Tensor:
    """Mark the candidates among the best k of their query, bool, same shape."""
    order = scores.sort(dim=1, descending=True, stable=True).indices[:, :k]
    chosen = torch.zeros(scores.shape, dtype=torch.bool).scatter_(1, order, True)
    return chosen & (scores != UNDECODABLE)
