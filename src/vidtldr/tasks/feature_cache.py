"""Features of videos on disk, so that what was computed once is read the next time.

An entry belongs to the content of a video file (its SHA-256, so a renamed or moved file is
recognised and a changed one is not) in a context: everything else that decides the features, such
as the model's weights, the frames and the schedule. Names and times of files decide nothing.

Letters: `N` tokens, `C` channels.
"""

import hashlib
import json
import os
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from vidtldr.models.umt.vision import VideoTokens

__all__ = ["CachedFeatures", "FeatureCache"]

FORMAT = "1"
CONTEXT_FILE = "context.json"


class CachedFeatures(NamedTuple):
    """The features of one video, on the CPU.

    Attributes:
        tokens: Tokens of the vision encoder (N, C) and their mass.
        pooled: Their pooled vector, shape (C,).
        seconds: Time that the frames sampled from cover; None if unknown.
        notes: What was unusual about the file.
    """

    tokens: VideoTokens
    pooled: Tensor
    seconds: float | None
    notes: tuple[str, ...]


class FeatureCache:
    """Features of one context in a directory; safe for several processes at once.

    An entry is written beside its place and moved there when complete, so a reader sees all of it
    or nothing, and the last of several writers wins with the same content. Every entry carries a
    checksum of its tensors.

    Args:
        directory: Holds one directory for each context; made if it is not there.
        context: Everything that decides the features but the video, ready for JSON.

    Attributes:
        directory: The directory of this context.
    """

    def __init__(self, directory: str | os.PathLike[str], context: Mapping[str, Any]) -> None:
        text = json.dumps({"format": FORMAT, **context}, sort_keys=True, indent=2)
        self.context_sha256 = hashlib.sha256(text.encode()).hexdigest()
        self.directory = Path(directory) / self.context_sha256[:16]
        self.directory.mkdir(parents=True, exist_ok=True)
        if not (self.directory / CONTEXT_FILE).exists():  # for people; nothing reads it
            _write_atomically(self.directory / CONTEXT_FILE, f"{text}\n".encode())

    def path_of(self, video_sha256: str) -> Path:
        """Where the entry of a video lies, whether it is there or not."""
        return self.directory / video_sha256[:2] / f"{video_sha256}.safetensors"

    def load(self, video_sha256: str) -> tuple[CachedFeatures | None, str | None]:
        """Read an entry.

        Args:
            video_sha256: Hash of the video file's content.

        Returns:
            The features, None if there is no whole entry; and what is wrong with it, None if
            nothing is.
        """
        path = self.path_of(video_sha256)
        try:
            return self._parse(path.read_bytes(), video_sha256), None
        except FileNotFoundError:
            return None, None
        except (SafetensorError, ValueError, KeyError, TypeError, OSError) as error:
            return None, f"cache entry {str(path)!r} is damaged ({error}): computed again"

    def save(self, video_sha256: str, features: CachedFeatures) -> None:
        """Write an entry, whole or not at all.

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
        _write_atomically(path, save(tensors, about))

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


def _write_atomically(path: Path, content: bytes) -> None:
    partial = path.with_name(f".{uuid.uuid4().hex}.partial")
    try:
        partial.write_bytes(content)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
