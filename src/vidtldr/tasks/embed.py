"""Embed videos: one vector per video.

Letters: `B` clips, `T` frames, `S` side of a frame, `N` tokens, `C` channels of the vector.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from threading import get_ident
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vidtldr.budget.counts import resolve_budget
from vidtldr.config import MergeConfig
from vidtldr.hosts.registry import find_host
from vidtldr.models.umt.vision import VideoTokens
from vidtldr.patch.compiled_twin import CompiledTwin
from vidtldr.tasks.clip_reader import ClipReader, Pixels, read_ahead
from vidtldr.tasks.dual_encoder import DualEncoder
from vidtldr.tasks.fingerprint import file_sha256, module_sha256
from vidtldr.tasks.pretrained import Pretrained
from vidtldr.tasks.unchanged import FileChangedError, FileWatch
from vidtldr.tasks.video_encoder import VideoEncoder, mean_of_frames
from vidtldr.tasks.video_features import VideoEncoding, embed_pooled, retrieval_model
from vidtldr.video.decode import VideoError
from vidtldr.video.sampling import Sampling

__all__ = [
    "EmbeddedVideo",
    "Embedder",
    "embed_videos",
    "head_of",
    "pretrained_embedder",
    "pretrained_features",
    "umt_embedder",
]

NUM_ID_DIGITS = 32


@dataclass(frozen=True)
class EmbeddedVideo:
    """The embedding of one video.

    Attributes:
        id: First 32 hexadecimal digits of the SHA-256 of the file's content, so identical files
            have equal ids wherever they are; None if it cannot be read, or changed meanwhile.
        path: The file, as given.
        seconds: Duration that frames were sampled from; None if unknown.
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
    """A model that turns clips into vectors.

    Attributes:
        reader: How videos are read.
        num_channels: Length of its vectors.
        encode: Turns clips, shape (B, T, 3, S, S), into vectors (B, C), float32, on the CPU.
        encode_with_tokens: The same, plus each clip's tokens for the fusion encoder; None for a
            model without one.
        identity: Returns everything the vectors depend on, JSON-serialisable: weights, schedule,
            how videos are read, dtype of the weights. Hashes the weights, so call it once.
        device: Device of the model.
        compiled: The compiled model for clips of one shape; None if nothing was compiled.
        r: Tokens removed in each layer; None if nothing merges, or it depends on the input.
        model: The model itself.
        encode_texts: Encodes texts, with the argument's name for errors, into the space of the
            vectors: (K, C), float32, on the CPU; None for a model that reads no texts.
        sees_frames: As in `Pretrained`.
    """

    reader: ClipReader
    num_channels: int
    encode: Callable[[Tensor], Tensor]
    encode_with_tokens: Callable[[Tensor], tuple[Tensor, list[VideoTokens]]] | None
    identity: Callable[[], dict[str, Any]]
    device: torch.device
    compiled: CompiledTwin[Any] | None = None
    r: tuple[int, ...] | None = None
    model: nn.Module | None = None
    encode_texts: Callable[[Sequence[str], str], Tensor] | None = None
    sees_frames: bool = False


def umt_embedder(encoding: VideoEncoding) -> Embedder:
    """Embed with UMT: pooled and projected unit vectors, comparable with text embeddings.

    Args:
        encoding: A `UMTRetrieval` with its merging and reading. Its cache is not used.

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
        encoding.reader,
        num_channels,
        encode,
        encode_with_tokens,
        identity,
        encoding.device,
        encoding.compiled,
        model=model,
    )


def pretrained_embedder(
    pretrained: Pretrained,
    sampling: Sampling | None = None,
    *,
    merge: MergeConfig | None = None,
    time_limit_seconds: float = 120.0,
    compiled: CompiledTwin[nn.Module] | None = None,
    dual: DualEncoder | None = None,
) -> Embedder:
    """Embed with a model of transformers.

    Vectors of a classifier are the input of its last layer, those of an encoder what it returns,
    neither normalised; those of a dual encoder are unit vectors, comparable with texts. Vectors of
    single frames are averaged first.

    Args:
        pretrained: The model; merges if it is patched.
        sampling: Which frames; None spreads the model's number of frames over the whole video.
        merge: What it was patched with, for `Embedder.identity`.
        time_limit_seconds: Time limit for reading a video.
        compiled: Result of `compile_pretrained`, to run instead; None runs the model itself.
        dual: The same model with its tokenizer, if it reads texts.

    Raises:
        NotImplementedError: If a classifier has no module named `classifier`.
    """
    model = pretrained.model
    if isinstance(model, VideoEncoder):
        num_channels = model.num_channels
    else:
        num_channels = head_of(model).in_features
    sampling = sampling or Sampling(pretrained.num_frames)
    reader = ClipReader(sampling, pretrained.transform, time_limit_seconds=time_limit_seconds)

    def identity() -> dict[str, Any]:
        schedule = None if merge is None else resolve_budget(merge, find_host(model))
        return _identity(model, schedule, reader)

    def encode(clips: Tensor) -> Tensor:
        vectors = pretrained_features(
            model if compiled is None else compiled.model_for(clips), clips
        )
        return vectors if dual is None else F.normalize(vectors, dim=-1)

    device = next(model.parameters()).device
    return Embedder(
        reader,
        num_channels,
        encode,
        None,
        identity,
        device,
        compiled,
        model=model,
        encode_texts=None if dual is None else dual.encode_typed,
        sees_frames=pretrained.sees_frames,
    )


def pretrained_features(model: nn.Module, clips: Tensor) -> Tensor:
    """Compute the vectors of an encoder, or the input of a classifier's last layer.

    Args:
        model: As in `Pretrained`; merges if it is patched.
        clips: Shape (B, T, 3, S, S), on any device.

    Returns:
        Shape (B, C), float32, on the CPU.

    Raises:
        NotImplementedError: If a classifier has no module named `classifier`.
    """
    parameter = next(model.parameters())
    # Moved outside inference mode: an inference tensor would trigger a recompilation.
    x = clips.to(parameter.device, parameter.dtype)
    if isinstance(model, VideoEncoder):
        return torch.as_tensor(_run(model, x)).float().cpu().clone()
    seen: list[Tensor] = []
    here = get_ident()

    def keep(_module: nn.Module, args: tuple[Any, ...]) -> None:
        if get_ident() == here:  # another thread may run the same model meanwhile
            seen.append(args[0])

    handle = head_of(model).register_forward_pre_hook(keep)
    try:
        _run(model, x)
    finally:
        handle.remove()
    # One vector a clip, or one a frame. The copy is not an inference tensor.
    return mean_of_frames(seen[0].float(), len(clips)).cpu().clone()


@torch.inference_mode()
def _run(model: nn.Module, pixel_values: Tensor) -> Any:
    return model(pixel_values=pixel_values)


def embed_videos(
    embedder: Embedder,
    paths: Sequence[str],
    *,
    num_readers: int = 2,
    on_step: Callable[[], object] = lambda: None,
) -> Iterator[EmbeddedVideo]:
    """Embed video files one by one; a bad file never stops the others.

    Args:
        embedder: See `umt_embedder` and `pretrained_embedder`.
        paths: Local files.
        num_readers: Reader threads.
        on_step: Called after every video, to show progress.

    Yields:
        One row per path, in order.
    """

    def read(path: str) -> tuple[str, str | None, Pixels | VideoError]:
        identity = None
        try:
            watch = FileWatch(path)
            identity = _id_of(path)
            pixels = embedder.reader(path)
            watch.validate_unchanged()
        except FileChangedError as error:
            return path, None, error
        except VideoError as error:
            return path, identity, error
        return path, identity, pixels

    for path, identity, pixels in read_ahead(read, paths, num_readers):
        yield _row(embedder, path, identity, pixels)
        on_step()


def _row(
    embedder: Embedder, path: str, identity: str | None, pixels: Pixels | VideoError
) -> EmbeddedVideo:
    if isinstance(pixels, VideoError):
        return EmbeddedVideo(identity, path, error=str(pixels))
    try:
        [vector] = embedder.encode(pixels.values[None])
    except (ValueError, RuntimeError, MemoryError) as error:  # such as a clip of another size
        return EmbeddedVideo(identity, path, pixels.seconds, None, pixels.notes, str(error))
    if not vector.isfinite().all():
        message = "the model's vector must be finite, got NaN or inf. Use float32."
        return EmbeddedVideo(identity, path, pixels.seconds, None, pixels.notes, message)
    return EmbeddedVideo(identity, path, pixels.seconds, vector, pixels.notes)


def _identity(model: nn.Module, merge: MergeConfig | None, reader: ClipReader) -> dict[str, Any]:
    return {
        "weights": module_sha256(model),
        "merge": None if merge is None else merge.to_dict(),
        "reader": repr((reader.sampling, reader.transform, reader.max_seconds)),
        "dtype": str(next(model.parameters()).dtype),
    }


def head_of(model: nn.Module) -> nn.Linear:
    """Return the last layer of a classifier, whose input is its vector.

    Raises:
        NotImplementedError: If it is no linear layer named `classifier`.
    """
    head = getattr(model, "classifier", None)
    if not isinstance(head, nn.Linear):
        raise NotImplementedError(
            "model must have its last layer, a linear one, under the name 'classifier', got "
            f"{type(model).__name__} without it. Use its encoder instead, or another model."
        )
    return head


def _id_of(path: str) -> str | None:
    try:
        return file_sha256(path)[:NUM_ID_DIGITS] if os.path.isfile(path) else None
    except OSError:
        return None
