"""On-disk cache of video features.

Letters: `N` tokens, `C` channels.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from vidtldr.models.umt.vision import VideoTokens
from vidtldr.tasks.tensor_cache import CachedTensors, TensorCache

__all__ = ["CachedFeatures", "FeatureCache"]


class CachedFeatures(NamedTuple):
    """The features of one video, on the CPU.

    Attributes:
        tokens: Tokens of the vision encoder (N, C) and their mass.
        pooled: Their pooled vector, shape (C,).
        seconds: Duration that frames were sampled from; None if unknown.
        notes: Everything unusual about the file.
    """

    tokens: VideoTokens
    pooled: Tensor
    seconds: float | None
    notes: tuple[str, ...]


class FeatureCache:
    """Cached features of one context in a directory, see `TensorCache`.

    Args:
        directory: Holds one subdirectory per context; created if missing.
        context: Everything the features depend on except the video, JSON-serialisable.

    Attributes:
        directory: The subdirectory of this context.
    """

    def __init__(self, directory: str | os.PathLike[str], context: Mapping[str, Any]) -> None:
        self._entries = TensorCache(directory, context, ("tokens", "pooled"))
        self.directory = self._entries.directory

    def path_of(self, video_sha256: str) -> Path:
        """The path of a video's entry, whether it exists or not."""
        return self._entries.path_of(video_sha256)

    def load(self, video_sha256: str) -> tuple[CachedFeatures | None, str | None]:
        """Read an entry.

        Args:
            video_sha256: Hash of the video file's content.

        Returns:
            The features, None if there is no intact entry; and what is wrong with the entry, None
            if nothing is.
        """
        found, damage = self._entries.load(video_sha256)
        if found is None:
            return None, damage
        tensors = found.tensors
        tokens = VideoTokens(tensors["tokens"], tensors.get("mass"))
        return CachedFeatures(tokens, tensors["pooled"], found.seconds, found.notes), None

    def save(self, video_sha256: str, features: CachedFeatures) -> None:
        """Write an entry atomically.

        Raises:
            OSError: If it cannot be written.
        """
        parts = {
            "tokens": features.tokens.x,
            "mass": features.tokens.mass,
            "pooled": features.pooled,
        }
        tensors = {name: part for name, part in parts.items() if part is not None}
        entry = CachedTensors(tensors, features.seconds, features.notes)
        self._entries.save(video_sha256, entry)
