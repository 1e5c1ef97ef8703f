"""On-disk cache of video features.

An entry is keyed by the content of a video file (its SHA-256, so a renamed or moved file is
recognised and a changed one is not) and a context: everything else the features depend on, such as
the model's weights, the frames and the schedule. File names and times play no role.

Letters: `N` tokens, `C` channels.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from vidtldr.files import write_bytes
from vidtldr.models.umt.vision import VideoTokens

__all__ = ["CachedFeatures", "FeatureCache"]

FORMAT = "1"
CONTEXT_FILE = "context.json"


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
    """Cached features of one context in a directory; safe for concurrent processes.

    An entry is written to a temporary file and moved into place when complete, so writes are
    atomic; of several writers the last wins, with the same content. Every entry carries a checksum
    of its tensors.

    Args:
        directory: Holds one subdirectory per context; created if missing.
        context: Everything the features depend on except the video, JSON-serialisable.

    Attributes:
        directory: The subdirectory of this context.
    """

    def __init__(self, directory: str | os.PathLike[str], context: Mapping[str, Any]) -> None:
        text = json.dumps({"format": FORMAT, **context}, sort_keys=True, indent=2)
        self.context_sha256 = hashlib.sha256(text.encode()).hexdigest()
        self.directory = Path(directory) / self.context_sha256[:16]
        self.directory.mkdir(parents=True, exist_ok=True)
        if not (self.directory / CONTEXT_FILE).exists():  # for people only
            write_bytes(self.directory / CONTEXT_FILE, f"{text}\n".encode())

    def path_of(self, video_sha256: str) -> Path:
        """The path of a video's entry, whether it exists or not."""
        return self.directory / video_sha256[:2] / f"{video_sha256}.safetensors"

    def load(self, video_sha256: str) -> tuple[CachedFeatures | None, str | None]:
        """Read an entry.

        Args:
            video_sha256: Hash of the video file's content.

        Returns:
            The features, None if there is no intact entry; and what is wrong with the entry, None
            if nothing is.
        """
        path = self.path_of(video_sha256)
        try:
            return self._parse(path.read_bytes(), video_sha256), None
        except FileNotFoundError:
            return None, None
        except (SafetensorError, ValueError, KeyError, TypeError, OSError) as error:
            return None, f"cache entry {str(path)!r} is damaged ({error}): computed again"

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
        tensors = {
            name: part.detach().cpu().contiguous()
            for name, part in parts.items()
            if part is not None
        }
        about = {
            "context": self.context_sha256,
            "video": video_sha256,
            "tensors": _checksum(tensors),
            "seconds": json.dumps(features.seconds),
            "notes": json.dumps(features.notes),
        }
        path = self.path_of(video_sha256)
        path.parent.mkdir(exist_ok=True)
        write_bytes(path, save(tensors, about))

    def _parse(self, content: bytes, video_sha256: str) -> CachedFeatures:
        tensors = load(content)
        num_header_bytes = int.from_bytes(content[:8], "little")
        about = json.loads(content[8 : 8 + num_header_bytes])["__metadata__"]
        if (about["context"], about["video"]) != (self.context_sha256, video_sha256):
            raise ValueError("it belongs to something else")
        if about["tensors"] != _checksum(tensors):
            raise ValueError("its checksum does not fit")
        tokens = VideoTokens(tensors["tokens"], tensors.get("mass"))
        seconds, notes = json.loads(about["seconds"]), json.loads(about["notes"])
        return CachedFeatures(tokens, tensors["pooled"], seconds, tuple(notes))


def _checksum(tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        value = tensors[name]
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
