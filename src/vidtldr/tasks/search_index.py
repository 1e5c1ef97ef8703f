"""Search an index by text or by example video.

Letters: `C` channels of a vector, `N` tokens.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from vidtldr.models.umt.vision import VideoTokens
from vidtldr.store.exact_search import Hit
from vidtldr.store.nearest import NearestClips
from vidtldr.store.rows import KeptTokens, path_of
from vidtldr.store.video_index import VideoIndex
from vidtldr.tasks.embed import Embedder
from vidtldr.tasks.search import text_vector
from vidtldr.tasks.text_features import EncodedTexts, encode_texts, match_scores, prompt_tokens
from vidtldr.tasks.video_features import VideoEncoding, retrieval_model
from vidtldr.tasks.video_file import VideoFile
from vidtldr.video.decode import VideoError
from vidtldr.video.local_file import video_error

__all__ = [
    "FoundClip",
    "TextQuery",
    "find_like",
    "find_text",
    "find_text_by_vector",
    "validate_model",
]


@dataclass(frozen=True)
class FoundClip:
    """A clip of the index and how well it matches the query.

    Attributes:
        path: Its file.
        start_seconds: Its start in the file.
        end_seconds: Its end; None if unknown.
        rank: 1 for the best.
        score: Cosine similarity of its vector and the query's, in [-1, 1].
        match_score: Logit of the "match" class of the fusion encoder; None if it was not computed.
        notes: Everything unusual about the file, and why a clip could not be re-ranked.
    """

    path: str
    start_seconds: float
    end_seconds: float | None
    rank: int
    score: float
    match_score: float | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class TextQuery:
    """An encoded text query: a unit vector (C,), and the input of the fusion encoder."""

    vector: NDArray[np.float32]
    encoded: EncodedTexts


def validate_model(index: VideoIndex, identity: dict[str, Any]) -> None:
    """Check that a model is the one the index was made with.

    Args:
        index: The index.
        identity: The model's identity, see `Embedder.identity`.

    Raises:
        ValueError: If its weights differ.
    """
    own, given = index.settings.identity.get("weights"), identity.get("weights")
    if own != given:
        raise ValueError(
            f"model must be the one of the index {str(index.directory)!r}, "
            f"{index.settings.model!r} with weights {str(own)[:12]}, got weights "
            f"{str(given)[:12]}. Leave out the model, or name the file that it was made with."
        )


def find_text(
    index: VideoIndex,
    encoding: VideoEncoding,
    text: str,
    *,
    top: int = 10,
    where: str | None = None,
    rerank: int = 0,
) -> list[FoundClip]:
    """Find the clips that best match a text, best first.

    All are ranked by cosine similarity, then the best `rerank` by the fusion encoder: from their
    tokens if the index keeps them, else by reading their files again.

    Args:
        index: The index to search.
        encoding: The `UMTRetrieval` that the index was made with, and its schedule.
        text: The query.
        top: Maximum number of clips to return, at least 1.
        where: SQL filter on the clips, such as "seconds > 5".
        rerank: Clips to re-rank, at least 0.

    Raises:
        ValueError: If the text is empty or too long, a number is out of range, or `where` is not a
            valid filter.
        TypeError: If the model is not a `UMTRetrieval`.
        OSError: If the index is damaged.
    """
    if rerank < 0:
        raise ValueError(f"rerank must be at least 0, got {rerank}. Use 0 for the fast score.")
    model = retrieval_model(encoding)
    with encoding.computing():
        encoded = encode_texts(model, prompt_tokens(model.tokenizer, [text], "text"))
    vector = encoded.row_embeddings[0].numpy()
    hits = NearestClips(index, where).search(vector, max(top, rerank))
    found = _described(index, hits)
    best = _reranked(index, encoding, encoded, found[:rerank], [hit.id for hit in hits[:rerank]])
    ordered = [*best, *found[rerank:]][:top]
    return [replace(clip, rank=rank) for rank, clip in enumerate(ordered, start=1)]


def find_text_by_vector(
    index: VideoIndex, embedder: Embedder, text: str, *, top: int = 10, where: str | None = None
) -> list[FoundClip]:
    """As `find_text`, with a model that has no fusion encoder to re-rank by.

    Raises:
        ValueError: As `find_text`, or if the model reads no texts.
        OSError: If the index is damaged.
    """
    vector = text_vector(embedder, text).numpy()
    return _described(index, NearestClips(index, where).search(vector, top))


def find_like(
    index: VideoIndex,
    embedder: Embedder,
    path: str,
    *,
    top: int = 10,
    where: str | None = None,
) -> list[FoundClip]:
    """Find the clips most similar to a video; otherwise as `find_text`.

    Raises:
        VideoError: If the video cannot be read.
        ValueError, OSError: As `find_text`.
    """
    vector = embedder.encode(embedder.reader(path).values[None])[0].numpy()
    return _described(index, NearestClips(index, where).search(vector, top))


def _described(index: VideoIndex, hits: Sequence[Hit]) -> list[FoundClip]:
    rows = index.rows([hit.id for hit in hits])
    return [
        FoundClip(
            path=path_of(rows[hit.id]["path"]),
            start_seconds=rows[hit.id]["start_seconds"],
            end_seconds=rows[hit.id]["end_seconds"],
            rank=rank,
            score=hit.score,
            notes=tuple(filter(None, rows[hit.id]["notes"].split("\n"))),
        )
        for rank, hit in enumerate((hit for hit in hits if hit.id in rows), start=1)
    ]


def _reranked(
    index: VideoIndex,
    encoding: VideoEncoding,
    query: EncodedTexts,
    found: Sequence[FoundClip],
    ids: Sequence[str],
) -> list[FoundClip]:
    """The same clips, those with a match score first."""
    model = retrieval_model(encoding)
    kept, rows = index.tokens(ids), index.rows(ids)
    scored = []
    for clip, key in zip(found, ids, strict=True):
        try:
            if key in kept:
                tokens = _video_tokens(kept[key])
            else:
                sha256 = rows[key]["sha256"]
                tokens = _tokens_of(encoding, clip, sha256, index.settings.segment_seconds)
        except VideoError as error:
            scored.append(replace(clip, notes=(*clip.notes, f"not re-ranked: {error}")))
            continue
        with encoding.computing():
            match = match_scores(model, tokens, query, [0]).item()
        scored.append(replace(clip, match_score=match))
    return sorted(scored, key=lambda clip: (clip.match_score is None, -(clip.match_score or 0.0)))


def _video_tokens(kept: KeptTokens) -> VideoTokens:
    mass = None if kept.mass is None else torch.from_numpy(kept.mass.copy())
    return VideoTokens(torch.from_numpy(kept.x.copy()), mass)


def _tokens_of(
    encoding: VideoEncoding, clip: FoundClip, sha256: str, segment_seconds: float | None
) -> VideoTokens:
    """Read a clip from its file again and encode it."""
    file = VideoFile(clip.path, encoding.reader, segment_seconds)
    if file.hash_content() in (sha256, None):  # without a hash, reading says why
        for part in file.clips():
            if part.start_seconds == clip.start_seconds:
                file.validate_unchanged()
                pixels = encoding.reader.transform.normalised(part.x)
                return encoding.encode_pixels(pixels[None]).by_clip()[0]
    raise video_error(
        clip.path, "it is not the video that was indexed", "Run vidtldr index add again."
    )
