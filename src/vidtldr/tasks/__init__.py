"""Tasks on videos: classify, embed, search, answer questions."""

from typing import TYPE_CHECKING

from vidtldr.lazy import lazy_names

if TYPE_CHECKING:
    from vidtldr.tasks.ask import AnsweredVideo, ask_video
    from vidtldr.tasks.classify import classify_pixels, to_pixels, top_labels
    from vidtldr.tasks.clip_reader import ClipReader, umt_reader
    from vidtldr.tasks.comparison import Comparison, compare_on_clip
    from vidtldr.tasks.embed import EmbeddedVideo, Embedder, embed_videos
    from vidtldr.tasks.embeddings_file import write_parquet
    from vidtldr.tasks.load import load_answering, load_classifier, load_embedder, load_retrieval
    from vidtldr.tasks.model_spec import ModelSpec
    from vidtldr.tasks.pretrained import Pretrained
    from vidtldr.tasks.search import SearchResult, search_videos
    from vidtldr.tasks.search_index import FoundClip, find_like, find_text
    from vidtldr.tasks.video_features import VideoEncoding

__all__ = [
    "AnsweredVideo",
    "ClipReader",
    "Comparison",
    "EmbeddedVideo",
    "Embedder",
    "FoundClip",
    "ModelSpec",
    "Pretrained",
    "SearchResult",
    "VideoEncoding",
    "ask_video",
    "classify_pixels",
    "compare_on_clip",
    "embed_videos",
    "find_like",
    "find_text",
    "load_answering",
    "load_classifier",
    "load_embedder",
    "load_retrieval",
    "search_videos",
    "to_pixels",
    "top_labels",
    "umt_reader",
    "write_parquet",
]

_HOMES = {
    "AnsweredVideo": "ask",
    "ClipReader": "clip_reader",
    "Comparison": "comparison",
    "EmbeddedVideo": "embed",
    "Embedder": "embed",
    "FoundClip": "search_index",
    "ModelSpec": "model_spec",
    "Pretrained": "pretrained",
    "SearchResult": "search",
    "VideoEncoding": "video_features",
    "ask_video": "ask",
    "classify_pixels": "classify",
    "compare_on_clip": "comparison",
    "embed_videos": "embed",
    "find_like": "search_index",
    "find_text": "search_index",
    "load_answering": "load",
    "load_classifier": "load",
    "load_embedder": "load",
    "load_retrieval": "load",
    "search_videos": "search",
    "to_pixels": "classify",
    "top_labels": "classify",
    "umt_reader": "clip_reader",
    "write_parquet": "embeddings_file",
}
__getattr__, __dir__ = lazy_names(
    __name__, {name: f"{__name__}.{module}" for name, module in _HOMES.items()}
)
