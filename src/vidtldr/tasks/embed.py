"""One vector a video.

Letters: `B` clips, `T` frames, `S` side of a frame, `N` tokens, `C` channels of the vector.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from vidtldr.hosts.budget import resolve_budget
from vidtldr.hosts.compiled_twin import CompiledTwin
from vidtldr.hosts.config import MergeConfig
from vidtldr.hosts.registry import find_host
from vidtldr.models.umt.vision import VideoTokens
from vidtldr.tasks.clip_reader import ClipReader, Pixels, read_ahead
from vidtldr.tasks.fingerprint import file_sha256, module_sha256
from vidtldr.tasks.pretrained import Pretrained
from vidtldr.tasks.search import embed_pooled, retrieval_model
from vidtldr.tasks.video_features import VideoEncoding
from vidtldr.video.decode import VideoError
from vidtldr.video.sampling import Sampling

__all__ = [
    "EmbeddedVideo",
    "Embedder",
    "classifier_embedder",
    "classifier_features",
    "embed_videos",
    "umt_embedder",
]

NUM_ID_DIGITS = 32


@dataclass(frozen=True)
class EmbeddedVideo:
    """One video as a vector.

    Attributes:
        id: First 32 hexadecimal digits of the SHA-256 of the file's content, so equal files have
            equal ids wherever they lie; None if it cannot be read.
        path: The file, as it was given.
        seconds: Time that the frames sampled from cover; None if unknown.
        vector: Shape (C,), float32, on the CPU; None if the video failed.
        notes: Everything unusual about the file.
        error: Why the video failed; None if it did not.
    """

    id: str | None
    path: str
    seconds: float | None = None
    vector: Tensor | None = None
    notes: tuple[str, ...] = ()
    error: str | None = None


@dataclass(frozen=True)
class Embedder:
    """A model that makes vectors of clips.

    Attributes:
        reader: How videos are read.
        num_channels: Length of its vectors.
        encode: Turns clips, shape (B, T, 3, S, S), into vectors (B, C), float32, on the CPU.
        encode_with_tokens: The same, and each clip's tokens that a fusion encoder reads; None for
            a model without one.
        identity: Says what decides the vectors, ready for JSON: weights, schedule, how videos are
            read, type of the weights. Hashes the weights, so call it once.
        device: Where the model is.
    """

    reader: ClipReader
    num_channels: int
    encode: Callable[[Tensor], Tensor]
    encode_with_tokens: Callable[[Tensor], tuple[Tensor, list[VideoTokens]]] | None
    identity: Callable[[], dict[str, Any]]
    device: torch.device


def umt_embedder(encoding: VideoEncoding) -> Embedder:
    """Embed by UMT: pooled and projected unit vectors, which a text's embedding can be compared to.

    Args:
        encoding: A `UMTRetrieval` and how it merges and reads. Its cache is not used.

    Raises:
        TypeError: If the model is not a `UMTRetrieval`.
    """
    model = retrieval_model(encoding)

    def encode(clips: Tensor) -> Tensor:
        return embed_pooled(encoding, encoding.encode_pixels(clips).pooled)

    def encode_with_tokens(clips: Tensor) -> tuple[Tensor, list[VideoTokens]]:
        features = encoding.encode_pixels(clips)
        return embed_pooled(encoding, features.pooled), features.by_clip()

    def identity() -> dict[str, Any]:
        merge = None if encoding.merge is None else encoding.schedule
        return _identity(model, merge, encoding.reader)

    num_channels = model.config.embed_dim
    return Embedder(
        encoding.reader, num_channels, encode, encode_with_tokens, identity, encoding.device
    )


def classifier_embedder(
    pretrained: Pretrained,
    sampling: Sampling | None = None,
    *,
    merge: MergeConfig | None = None,
    time_limit_seconds: float = 120.0,
    compiled: CompiledTwin[nn.Module] | None = None,
) -> Embedder:
    """Embed by a classifier of transformers: what enters its last layer, not normalised.

    Args:
        pretrained: The classifier; merges if it is patched.
        sampling: Which frames; None spreads the model's number over the whole video.
        merge: What it was patched with, for `Embedder.identity`.
        time_limit_seconds: Give up reading a video after so long.
        compiled: Of `compile_classifier`, to run it; None runs the classifier itself.

    Raises:
        NotImplementedError: If the model has no module named `classifier`.
    """
    model: Any = pretrained.model
    _head_of(model)
    sampling = sampling or Sampling(pretrained.num_frames)
    reader = ClipReader(sampling, pretrained.transform, time_limit_seconds=time_limit_seconds)
    num_channels = int(model.config.hidden_size)

    def identity() -> dict[str, Any]:
        schedule = None if merge is None else resolve_budget(merge, find_host(model))
        return _identity(model, schedule, reader)

    def encode(clips: Tensor) -> Tensor:
        chosen = model if compiled is None else compiled.model_for(clips)
        return classifier_features(chosen, clips)

    device = next(model.parameters()).device
    return Embedder(reader, num_channels, encode, None, identity, device)


def classifier_features(model: nn.Module, clips: Tensor) -> Tensor:
    """What enters the last layer of a classifier of transformers.

    Args:
        model: The classifier; merges if it is patched.
        clips: Shape (B, T, 3, S, S), on any device.

    Returns:
        Shape (B, C), float32, on the CPU.

    Raises:
        NotImplementedError: If the model has no module named `classifier`.
    """
    seen: list[Tensor] = []

    def keep(_module: nn.Module, args: tuple[Any, ...]) -> None:
        seen.append(args[0])

    parameter = next(model.parameters())
    x = clips.to(parameter.device, parameter.dtype)
    handle = _head_of(model).register_forward_pre_hook(keep)
    try:
        with torch.inference_mode():
            model(pixel_values=x)
    finally:
        handle.remove()
    return seen[0].float().cpu().clone()  # a tensor of inference mode is of no use to others


def embed_videos(
    embedder: Embedder,
    paths: Sequence[str],
    *,
    num_readers: int = 2,
    on_step: Callable[[], object] = lambda: None,
) -> Iterator[EmbeddedVideo]:
    """Embed video files in turn; a bad file never stops the others.

    Args:
        embedder: See `umt_embedder` and `classifier_embedder`.
        paths: Local files.
        num_readers: Threads that read.
        on_step: Called after every video, to show progress.

    Yields:
        One row a path, in order.
    """

    def read(path: str) -> tuple[str, str | None, Pixels | VideoError]:
        try:
            return path, _id_of(path), embedder.reader(path)
        except VideoError as error:
            return path, _id_of(path), error

    for path, identity, pixels in read_ahead(read, paths, num_readers):
        yield _row(embedder, path, identity, pixels)
        on_step()


def _row(
    embedder: Embedder, path: str, identity: str | None, pixels: Pixels | VideoError
) -> EmbeddedVideo:
    if isinstance(pixels, VideoError):
        return EmbeddedVideo(identity, path, error=str(pixels))
    [vector] = embedder.encode(pixels.values[None])
    if not vector.isfinite().all():
        error = "the model's vector must be finite, got NaN or inf. Use dtype float32."
        return EmbeddedVideo(identity, path, pixels.seconds, None, pixels.notes, error)
    return EmbeddedVideo(identity, path, pixels.seconds, vector, pixels.notes)


def _identity(model: nn.Module, merge: MergeConfig | None, reader: ClipReader) -> dict[str, Any]:
    return {
        "weights": module_sha256(model),
        "merge": None if merge is None else merge.to_dict(),
        "reader": repr((reader.sampling, reader.transform, reader.max_seconds)),
        "dtype": str(next(model.parameters()).dtype),
    }


def _head_of(model: nn.Module) -> nn.Module:
    head = getattr(model, "classifier", None)
    if not isinstance(head, nn.Module):
        raise NotImplementedError(
            "model must have its last layer under the name 'classifier', got "
            f"{type(model).__name__} without it. Use VideoMAE, ViViT or UMT."
        )
    return head


def _id_of(path: str) -> str | None:
    try:
        return file_sha256(path)[:NUM_ID_DIGITS] if os.path.isfile(path) else None
    except OSError:
        return None
