"""Store video tokens between encoding and re-ranking: in memory while they fit, else on disk.

Letters: `N` tokens, `C` channels.
"""

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Self

from safetensors.torch import load_file, save_file

from vidtldr.models.umt.vision import VideoTokens
from vidtldr.tasks.video_features import VideoEncoding

__all__ = ["TokenStore"]


class TokenStore:
    """Holds the tokens (N, C) of each video and their mass.

    What does not fit in memory is read again from the encoding's cache; without a cache it is
    written to a temporary directory, which is deleted when the `with` block ends.

    Args:
        encoding: What encoded the videos.
        paths: The file of each video.
        memory_bytes: Memory limit.
    """

    def __init__(self, encoding: VideoEncoding, paths: Sequence[str], memory_bytes: int) -> None:
        self.encoding = encoding
        self.paths = paths
        self.free_bytes = memory_bytes
        self._held: dict[int, VideoTokens] = {}
        self._directory: TemporaryDirectory[str] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._held.clear()
        if self._directory is not None:
            self._directory.cleanup()

    def put(self, index: int, tokens: VideoTokens) -> None:
        """Keep the tokens of a video."""
        tensors = tokens.tensors()
        num_bytes = sum(each.nbytes for each in tensors.values())
        if num_bytes <= self.free_bytes:
            self.free_bytes -= num_bytes
            self._held[index] = tokens
        elif self.encoding.cache is None:
            save_file(tensors, self._spill_path(index))

    def get(self, index: int) -> VideoTokens:
        """Return the tokens stored for a video.

        Raises:
            ValueError: If the video can no longer be read.
        """
        if index in self._held:
            return self._held[index]
        if self.encoding.cache is None:
            return VideoTokens(**load_file(self._spill_path(index)))
        row = self.encoding.encode(self.paths[index])  # a damaged entry is recomputed
        if row.tokens is None:
            raise ValueError(
                f"videos must not change while they are evaluated, got {row.path!r}: {row.error} "
                "Start again; what is in the cache is not lost."
            )
        return row.tokens

    def _spill_path(self, index: int) -> Path:
        if self._directory is None:
            self._directory = TemporaryDirectory(prefix="vidtldr-tokens-")
        return Path(self._directory.name) / f"{index}.safetensors"
