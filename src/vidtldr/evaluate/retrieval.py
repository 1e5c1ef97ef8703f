"""Evaluate text-video retrieval."""

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from torch import Tensor

from vidtldr.config import MergeConfig
from vidtldr.evaluate.annotations import read_retrieval
from vidtldr.evaluate.metrics import RetrievalMetrics
from vidtldr.evaluate.protocols import RetrievalProtocol
from vidtldr.evaluate.ranking import dual_scores, measure, rerank
from vidtldr.evaluate.run_record import RunRecord, record_run
from vidtldr.evaluate.settings import Settings
from vidtldr.evaluate.token_store import TokenStore
from vidtldr.evaluate.video_folder import VideoFolder
from vidtldr.models.umt.retrieval import UMTRetrieval
from vidtldr.steps import OnStep, ignore_steps, steps_of
from vidtldr.tasks.text_cleaning import clean_text
from vidtldr.tasks.text_features import EncodedTexts, encode_texts
from vidtldr.tasks.video_features import EncodedVideo, VideoEncoding, embed_pooled

__all__ = ["RetrievalResult", "evaluate_retrieval"]


@dataclass(frozen=True)
class RetrievalResult:
    """Retrieval on one set.

    Attributes:
        dual: Metrics of the fast scores alone.
        reranked: Metrics with the best of each query re-ranked by fusion, the paper's numbers; None
            if not requested.
        num_texts: Number of texts in the set.
        run: Record of the run.
    """

    dual: RetrievalMetrics
    reranked: RetrievalMetrics | None
    num_texts: int
    run: RunRecord

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, ready for JSON."""
        return asdict(self)


def evaluate_retrieval(
    model: UMTRetrieval,
    annotations: str | os.PathLike[str],
    videos: str | os.PathLike[str],
    protocol: RetrievalProtocol,
    *,
    merge: MergeConfig | None = None,
    settings: Settings | None = None,
    with_rerank: bool = True,
    on_step: OnStep = ignore_steps,
) -> RetrievalResult:
    """Evaluate a model on a retrieval set, by the paper's protocol.

    A video that cannot be decoded is listed and stays in the set: its own queries are misses, as
    are texts that no other video matches.

    Args:
        model: The model, on its device.
        annotations: JSON file, see `read_retrieval`.
        videos: Directory of the videos.
        protocol: Protocol of the set, see `retrieval_protocol`.
        merge: What to merge; None evaluates the unmerged model.
        settings: How to run; None uses the defaults.
        with_rerank: Whether to re-rank the best of each query.
        on_step: Called after each video read ("videos"), text ("texts") and video compared
            ("re-ranking").

    Raises:
        ValueError: If an annotation is invalid (names file and line) or the schedule does not fit.
        OSError: If the annotations cannot be read or no video exists.
    """
    settings = settings or Settings()
    retrieval = read_retrieval(annotations, protocol)
    paths = VideoFolder(videos).find_all(retrieval.videos)
    encoding = settings.encoding(model, merge, protocol.max_seconds)
    with TokenStore(encoding, paths, settings.memory_bytes if with_rerank else 0) as store:
        texts = _encode_texts(encoding, model, retrieval.texts, protocol, on_step)
        rows, embeddings = _encode_videos(encoding, paths, store, settings, with_rerank, on_step)
        dual = dual_scores(embeddings, texts)
        reranked = None
        if with_rerank:
            num_there = sum(row.error is None for row in rows)
            with encoding.computing():
                scores = rerank(
                    model,
                    store.get,
                    texts,
                    dual,
                    protocol.k_test,
                    batch_size=settings.pair_batch_size,
                    on_step=steps_of(on_step, "re-ranking", num_there),
                )
            reranked = measure(scores, retrieval)
    run = record_run(encoding, settings, protocol, rows, {"annotations": annotations})
    return RetrievalResult(measure(dual, retrieval), reranked, len(texts), run)


def _encode_texts(
    encoding: VideoEncoding,
    model: UMTRetrieval,
    texts: Sequence[str],
    protocol: RetrievalProtocol,
    on_step: OnStep,
) -> EncodedTexts:
    tokens = model.tokenizer([clean_text(text) for text in texts], protocol.max_text_tokens)
    with encoding.computing():
        return encode_texts(model, tokens, on_step=steps_of(on_step, "texts", len(texts)))


def _encode_videos(
    encoding: VideoEncoding,
    paths: Sequence[str],
    store: TokenStore,
    settings: Settings,
    keep_tokens: bool,
    on_step: OnStep,
) -> tuple[list[EncodedVideo], list[Tensor | None]]:
    """Encode all videos; the rows returned have no features, and tokens go to the store."""
    rows: list[EncodedVideo] = []
    embeddings: list[Tensor | None] = []
    for index, row in enumerate(
        encoding.encode_all(
            paths,
            batch_size=settings.batch_size,
            num_readers=settings.num_readers,
            on_step=steps_of(on_step, "videos", len(paths)),
        )
    ):
        if row.tokens is not None and keep_tokens:
            store.put(index, row.tokens)
        pooled = row.pooled
        embeddings.append(None if pooled is None else embed_pooled(encoding, pooled[None])[0])
        rows.append(replace(row, tokens=None, pooled=None))
    return rows, embeddings
