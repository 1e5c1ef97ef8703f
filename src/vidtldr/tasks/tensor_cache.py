"""On-disk cache of tensors computed from videos.

An entry is keyed by the content of a video file (its SHA-256, so a renamed or moved file is
recognised and a changed one is not) and a context: everything else the tensors depend on, such as
the model's weights, the frames and the schedule. File names and times play no role.
"""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from vidtldr.files import write_bytes
from vidtldr.tasks.fingerprint import file_sha256

__all__ = ["CachedTensors", "TensorCache", "sha256_of_video"]

FORMAT = "1"
CONTEXT_FILE = "context.json"


class CachedTensors(NamedTuple):
    """What is kept of one video.

    Attributes:
        tensors: By name, on the CPU.
        seconds: Duration that frames were sampled from; None if unknown.
        notes: Everything unusual about the file.
    """

    tensors: Mapping[str, Tensor]
    seconds: float | None
    notes: tuple[str, ...]


class TensorCache:
    """Cached tensors of one context in a directory; safe for concurrent processes.

    An entry is written to a temporary file and moved into place when complete, so writes are
    atomic; of several writers the last wins, with the same content. Every entry carries a checksum
    of its tensors.

    Args:
        directory: Holds one subdirectory per context; created if missing.
        context: Everything the tensors depend on except the video, JSON-serialisable.
        names: Tensors that every entry must have.

    Attributes:
        directory: The subdirectory of this context.
    """

    def __init__(
        self,
        directory: str | os.PathLike[str],
        context: Mapping[str, Any],
        names: Sequence[str],
    ) -> None:
        text = json.dumps({"format": FORMAT, **context}, sort_keys=True, indent=2)
        self.context_sha256 = hashlib.sha256(text.encode()).hexdigest()
        self.directory = Path(directory) / self.context_sha256[:16]
        self.directory.mkdir(parents=True, exist_ok=True)
        self._names = tuple(names)
        if not (self.directory / CONTEXT_FILE).exists():  # for people only
            write_bytes(self.directory / CONTEXT_FILE, f"{text}\n".encode())

    def path_of(self, video_sha256: str) -> Path:
        """The path of a video's entry, whether it exists or not."""
        return self.directory / video_sha256[:2] / f"{video_sha256}.safetensors"

    def load(self, video_sha256: str) -> tuple[CachedTensors | None, str | None]:
        """Read an entry.

        Args:
            video_sha256: Hash of the video file's content.

        Returns:
            The entry, None if there is no intact one; and what is wrong with it, None if nothing
            is.
        """
        path = self.path_of(video_sha256)
        try:
            return self._parse(path.read_bytes(), video_sha256), None
        except FileNotFoundError:
            return None, None
        except (SafetensorError, ValueError, KeyError, TypeError, OSError) as error:
            return None, f"cache entry {str(path)!r} is damaged ({error}): computed again"

    def save(self, video_sha256: str, entry: CachedTensors) -> None:
        """Write an entry atomically.

        Raises:
            OSError: If it cannot be written.
        """
        tensors = {name: part.detach().cpu().contiguous() for name, part in entry.tensors.items()}
        about = {
            "context": self.context_sha256,
            "video": video_sha256,
            "tensors": _checksum(tensors),
            "seconds": json.dumps(entry.seconds),
            "notes": json.dumps(entry.notes),
        }
        path = self.path_of(video_sha256)
        path.parent.mkdir(exist_ok=True)
        write_bytes(path, save(tensors, about))

    def _parse(self, content: bytes, video_sha256: str) -> CachedTensors:
        tensors = load(content)
        num_header_bytes = int.from_bytes(content[:8], "little")
        about = json.loads(content[8 : 8 + num_header_bytes])["__metadata__"]
        if (about["context"], about["video"]) != (self.context_sha256, video_sha256):
            raise ValueError("it belongs to something else")
        if about["tensors"] != _checksum(tensors):
            raise ValueError("its checksum does not fit")
        for name in self._names:
            if name not in tensors:
                raise ValueError(f"it lacks {name!r}")
        seconds, notes = json.loads(about["seconds"]), json.loads(about["notes"])
        return CachedTensors(tensors, seconds, tuple(notes))


def sha256_of_video(path: str) -> str | None:
    """Hash a regular file's content; None if it is not a regular file or cannot be read."""
    try:
        return file_sha256(path) if os.path.isfile(path) else None
    except OSError:
        return None


def _checksum(tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        value = tensors[name]
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
