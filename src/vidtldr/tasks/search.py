"""Search video files by text."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from vidtldr.models.umt.retrieval import UMTRetrieval
from vidtldr.models.umt.vision import VideoTokens
from vidtldr.tasks.embed import Embedder, embed_videos
from vidtldr.tasks.text_features import EncodedTexts, encode_texts, match_scores, prompt_tokens
from vidtldr.tasks.video_features import EncodedVideo, VideoEncoding, embed_pooled, retrieval_model

__all__ = [
    "SearchResult",
    "search_by_vectors",
    "search_videos",
    "text_vector",
]


@dataclass(frozen=True)
class SearchResult:
    """One video and how well it matches the text.

    Attributes:
        path: The file, as given.
        rank: 1 for the best; None for a video that failed.
        score: Cosine similarity of video and text, in [-1, 1]; None for a video that failed.
        match_score: Logit of the "match" class of the fusion encoder, higher is better; None if it
            was not computed.
        seconds: Duration that frames were sampled from; None if unknown.
        notes: Everything unusual about the file.
        error: Why the video failed; None if it did not.
    """

    path: str
    rank: int | None = None
    score: float | None = None
    match_score: float | None = None
    seconds: float | None = None
    notes: tuple[str, ...] = ()
    error: str | None = None


@dataclass
class _Hit:
    """A scored video; its tokens are dropped once it falls out of the best."""

    row: EncodedVideo
    score: float
    tokens: VideoTokens | None
    match_score: float | None = None


def search_videos(
    encoding: VideoEncoding,
    text: str,
    paths: Sequence[str],
    *,
    rerank: int = 0,
    batch_size: int = 1,
    on_step: Callable[[], object] = lambda: None,
) -> list[SearchResult]:
    """Rank videos by how well they match a text.

    All are ranked by the fast dual-encoder score. The best `rerank` are then re-ranked by the
    fusion encoder's score; the others follow in their original order. Tokens of at most `rerank`
    videos are held in memory. Ties keep the order of `paths`.

    Args:
        encoding: A `UMTRetrieval` with its merging and reading.
        text: The query; cleaned as captions are.
        paths: Local files.
        rerank: Videos to re-rank, at least 0; the paper's protocol uses 128.
        batch_size: As in `VideoEncoding.encode_all`.
        on_step: Called after every video, to show progress.

    Returns:
        One result per path, best first, failed videos last.

    Raises:
        ValueError: If the text is empty or too long, or `rerank` is negative.
        TypeError: If the model is not a `UMTRetrieval`.
    """
    if rerank < 0:
        raise ValueError(f"rerank must be at least 0, got {rerank}. Use 0 for the fast score.")
    model = retrieval_model(encoding)
    tokens = prompt_tokens(model.tokenizer, [text], "text")
    with encoding.computing():
        query = encode_texts(model, tokens)
    hits: list[_Hit] = []
    failed: list[EncodedVideo] = []
    for row in encoding.encode_all(paths, batch_size=batch_size, on_step=on_step):
        if row.pooled is None:
            failed.append(row)
        else:
            score = embed_pooled(encoding, row.pooled[None]) @ query.row_embeddings.T
            _insert(hits, _Hit(row, score.item(), row.tokens), rerank)
    _rerank(encoding, model, query, hits[:rerank])
    hits[:rerank] = sorted(hits[:rerank], key=lambda hit: -(hit.match_score or 0.0))
    return [_result(hit, rank) for rank, hit in enumerate(hits, start=1)] + [
        SearchResult(row.path, notes=row.notes, error=row.error) for row in failed
    ]


def search_by_vectors(
    embedder: Embedder,
    text: str,
    paths: Sequence[str],
    *,
    on_step: Callable[[], object] = lambda: None,
) -> list[SearchResult]:
    """As `search_videos`, with a model that has no fusion encoder to re-rank by.

    Args:
        embedder: Of a dual encoder.
        text: The query.
        paths: Local files.
        on_step: Called after every video, to show progress.

    Raises:
        ValueError: If the text is empty or too long, or the model reads no texts.
    """
    query = text_vector(embedder, text)
    results = []
    for row in embed_videos(embedder, paths, on_step=on_step):
        score = None if row.vector is None else (row.vector @ query).item()
        results.append(SearchResult(row.path, None, score, None, row.seconds, row.notes, row.error))
    found = sorted((r for r in results if r.score is not None), key=lambda r: -(r.score or 0.0))
    failed = [result for result in results if result.score is None]
    return [replace(result, rank=rank) for rank, result in enumerate(found, start=1)] + failed


def text_vector(embedder: Embedder, text: str) -> Tensor:
    """Encode a query to a unit vector (C,), float32, on the CPU.

    Raises:
        ValueError: If the text is empty or too long, or the model reads no texts.
    """
    if embedder.encode_texts is None:
        raise ValueError(
            "`model` must read texts to search by one, as UMT, CLIP and SigLIP do, got one that "
            "does not. Use --like VIDEO with an index of its vectors."
        )
    return embedder.encode_texts([text], "text")[0]


def _insert(hits: list[_Hit], hit: _Hit, num_with_tokens: int) -> None:
    place = next((i for i, other in enumerate(hits) if other.score < hit.score), len(hits))
    hits.insert(place, hit)
    for other in (hit if place >= num_with_tokens else None, *hits[num_with_tokens:][:1]):
        if other is not None:
            other.tokens, other.row = None, replace(other.row, tokens=None)


def _rerank(
    encoding: VideoEncoding, model: UMTRetrieval, query: EncodedTexts, hits: Sequence[_Hit]
) -> None:
    for hit in hits:
        assert hit.tokens is not None  # the best keep their tokens
        with encoding.computing():
            hit.match_score = match_scores(model, hit.tokens, query, [0]).item()


def _result(hit: _Hit, rank: int) -> SearchResult:
    row = hit.row
    return SearchResult(row.path, rank, hit.score, hit.match_score, row.seconds, row.notes)
