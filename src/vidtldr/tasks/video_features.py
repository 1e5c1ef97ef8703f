"""Encode many videos with UMT, reusing cached features.

Letters: `B` clips, `T` frames, `S` side of a frame, `N` tokens, `C` channels.
"""

import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from importlib.metadata import version

import torch
from torch import Tensor

import vidtldr
from vidtldr.budget.counts import resolve_budget
from vidtldr.config import MergeConfig
from vidtldr.hosts.registry import find_host
from vidtldr.models.umt.answering import UMTAnswering
from vidtldr.models.umt.retrieval import UMTRetrieval
from vidtldr.models.umt.vision import VideoFeatures, VideoTokens, VisionEncoder
from vidtldr.patch.compiled_twin import CompiledTwin
from vidtldr.patch.twin import merged_twin
from vidtldr.tasks.clip_reader import ClipReader, Pixels, read_ahead
from vidtldr.tasks.feature_cache import CachedFeatures, FeatureCache
from vidtldr.tasks.fingerprint import module_sha256
from vidtldr.tasks.tensor_cache import sha256_of_video
from vidtldr.tasks.unchanged import FileWatch
from vidtldr.video.decode import VideoError
from vidtldr.video.local_file import is_lack_of_memory

__all__ = ["EncodedVideo", "VideoEncoding", "embed_pooled", "retrieval_model"]

CPU = torch.device("cpu")
UNMERGED = MergeConfig(r=())
_NO_MEMORY = (
    "encoding it takes more memory than there is. Free some memory, or encode fewer clips at once."
)


@dataclass(frozen=True)
class EncodedVideo:
    """The features of one video file, or why it failed.

    Attributes:
        path: The file, as given.
        tokens: Its tokens (N, C) and their mass, on the CPU; None if the video failed.
        pooled: Its pooled vector, shape (C,), on the CPU; None if the video failed.
        seconds: Duration that frames were sampled from; None if unknown.
        notes: Everything unusual about the file, one sentence each.
        error: Why there are no features; None if there are.
        from_cache: Whether the features were read from the cache.
    """

    path: str
    tokens: VideoTokens | None = None
    pooled: Tensor | None = None
    seconds: float | None = None
    notes: tuple[str, ...] = ()
    error: str | None = None
    from_cache: bool = False


@dataclass(frozen=True)
class _Waiting:
    """A clip that was read and waits for the model, or a finished video."""

    pixels: Pixels | None
    sha256: str | None
    done: EncodedVideo


class VideoEncoding:
    """Encodes videos with a UMT model and one schedule; a bad file never stops the others.

    It runs a merging copy of the vision encoder that shares the weights, so the model is left as it
    is and several threads may encode at once. Features from the cache are bit-identical to those
    first computed.

    Args:
        model: A `UMTRetrieval` or `UMTAnswering`, on its device.
        reader: How videos are read, see `umt_reader`.
        merge: What to merge; None for nothing, even if the model is already patched.
        cache_dir: Directory to cache features in between runs; None caches nothing.
        autocast: Half-precision dtype to compute in, as the paper's protocol does on a GPU; None
            uses the model's own. Tokens are kept in this dtype, as attention reads them in it.
        compile_for: Batch size for which the vision encoder is compiled, once, at construction;
            other batch sizes run uncompiled. None compiles nothing. Features agree with uncompiled
            ones up to rounding, as across batch sizes, so both may share a cache.

    Attributes:
        schedule: The merging schedule, with any budget resolved to counts.
        compiled: The compiled encoder; None without one.
        num_encoded: Clips that the model encoded.
        encode_seconds: Time that the model took for `num_encoded` clips, excluding reading.

    Raises:
        ValueError: If the schedule does not fit the model.
        NotImplementedError, ImportError: If it cannot be compiled, as `CompiledTwin`.
    """

    def __init__(
        self,
        model: UMTRetrieval | UMTAnswering,
        reader: ClipReader,
        merge: MergeConfig | None = None,
        *,
        cache_dir: str | os.PathLike[str] | None = None,
        autocast: torch.dtype | None = None,
        compile_for: int | None = None,
    ) -> None:
        self.model = model
        self.reader = reader
        self.merge = merge
        self.autocast = autocast
        self.num_encoded = 0
        self.encode_seconds = 0.0
        self.schedule = resolve_budget(merge or UNMERGED, find_host(model))
        # A copy that is patched once: patching the model for each batch would disturb other threads
        # that run it.
        self._encoder: VisionEncoder = merged_twin(model.vision_encoder, self.schedule)
        self.cache = None if cache_dir is None else FeatureCache(cache_dir, self._context())
        self.compiled = None if compile_for is None else self._compile(compile_for)
        if self.compiled is not None:
            self.compiled.warm_up(self.encode_pixels)

    @property
    def device(self) -> torch.device:
        """Device of the model."""
        return next(self.model.parameters()).device

    def computing(self) -> ExitStack:
        """Context manager for inference mode, with autocast if requested."""
        stack = ExitStack()
        stack.enter_context(torch.inference_mode())
        if self.autocast is not None:
            stack.enter_context(torch.autocast(self.device.type, self.autocast))
        return stack

    def encode_pixels(self, pixel_values: Tensor) -> VideoFeatures:
        """Encode clips (B, T, 3, S, S) with this schedule."""
        x = pixel_values.to(self.device)
        if self.compiled is not None:
            # Contiguous, as `torch.stack` makes clips, and moved outside inference mode: other
            # strides or an inference tensor would trigger a recompilation.
            x = x.contiguous()
            with self.computing():
                found: VideoFeatures = self.compiled.model_for(x)(x)
                # Cloned: a replayed CUDA graph overwrites its outputs with the next features.
                mass = None if found.mass is None else found.mass.clone()
                return VideoFeatures(found.tokens.clone(), found.pooled.clone(), mass)
        with self.computing():
            features: VideoFeatures = self._encoder(x)
        return features

    def encode(self, path: str) -> EncodedVideo:
        """Encode one video file."""
        return next(self.encode_all([path], num_readers=1))

    def encode_all(
        self,
        paths: Iterable[str],
        *,
        batch_size: int = 1,
        num_readers: int = 2,
        on_step: Callable[[], object] = lambda: None,
    ) -> Iterator[EncodedVideo]:
        """Encode video files in order, reading the next ones meanwhile.

        Args:
            paths: Local files.
            batch_size: Clips per batch. Above 1, the composition of a batch depends on what is
                cached, so runs agree up to rounding, not bit for bit.
            num_readers: Reader threads.
            on_step: Called after every video, to show progress.

        Yields:
            One row per path, in order; a video that cannot be read has an error and no features.
        """
        group: list[_Waiting] = []
        for item in read_ahead(self._prepare, paths, num_readers):
            group.append(item)
            num_read = sum(each.pixels is not None for each in group)
            if num_read in (0, batch_size) or len(group) == 4 * batch_size:
                yield from self._finish(group, on_step)
                group = []
        yield from self._finish(group, on_step)

    def _compile(self, num_clips: int) -> CompiledTwin[VisionEncoder]:
        side = self.model.config.image_size
        shape = (num_clips, self.reader.sampling.num_frames, 3, side, side)
        return CompiledTwin(self._encoder, shape)

    def _prepare(self, path: str) -> _Waiting:
        """Look a video up in the cache, and read it on a miss; runs in a thread."""
        sha256, damage = None, None
        try:
            watch = FileWatch(path)
            sha256 = None if self.cache is None else sha256_of_video(path)
            if self.cache is not None and sha256 is not None:
                found, damage = self.cache.load(sha256)
                if found is not None:
                    return _Waiting(None, sha256, EncodedVideo(path, *found, from_cache=True))
            pixels = self.reader(path)
            watch.validate_unchanged()
        except VideoError as error:
            return _Waiting(None, sha256, EncodedVideo(path, error=str(error)))
        notes = pixels.notes if damage is None else (*pixels.notes, damage)
        return _Waiting(pixels, sha256, EncodedVideo(path, seconds=pixels.seconds, notes=notes))

    def _finish(
        self, group: Sequence[_Waiting], on_step: Callable[[], object]
    ) -> Iterator[EncodedVideo]:
        read = [item.pixels.values for item in group if item.pixels is not None]
        encoded: Sequence[tuple[VideoTokens, Tensor] | None]
        try:
            encoded = self._timed_encode(read)
        except Exception as error:
            if not is_lack_of_memory(error):
                raise
            encoded = [None] * len(read)
        features = iter(encoded)
        for item in group:
            row = item.done
            if item.pixels is not None:
                found = next(features)
                row = (
                    replace(row, error=_NO_MEMORY)
                    if found is None
                    else self._keep(item, item.pixels, *found)
                )
            on_step()
            yield row

    def _timed_encode(self, clips: list[Tensor]) -> list[tuple[VideoTokens, Tensor]]:
        if not clips:
            return []
        start = time.perf_counter()
        features = self.encode_pixels(torch.stack(clips))
        kept = self.autocast or features.tokens.dtype
        # Copies synchronise with the device. Each clip gets its own memory; as a view, one clip
        # would keep the whole batch alive.
        tokens = [clip.to(CPU, kept, copy=True) for clip in features.by_clip()]
        pooled = [part.cpu().clone() for part in features.pooled]
        self.encode_seconds += time.perf_counter() - start
        self.num_encoded += len(clips)
        return list(zip(tokens, pooled, strict=True))

    def _keep(
        self, item: _Waiting, pixels: Pixels, tokens: VideoTokens, pooled: Tensor
    ) -> EncodedVideo:
        row = item.done
        if not (tokens.x.isfinite().all() and pooled.isfinite().all()):
            error = "the model's features must be finite, got NaN or inf. Use float32."
            return EncodedVideo(row.path, seconds=row.seconds, notes=row.notes, error=error)
        if self.cache is not None and item.sha256 is not None:
            features = CachedFeatures(tokens, pooled, pixels.seconds, pixels.notes)
            self.cache.save(item.sha256, features)
        return EncodedVideo(row.path, tokens, pooled, row.seconds, row.notes)

    def _context(self) -> dict[str, object]:
        """Everything the features depend on except the video."""
        parameter = next(self.model.vision_encoder.parameters())
        context: dict[str, object] = {
            "weights": module_sha256(self.model.vision_encoder),
            "model": self.model.config.to_dict(),
            "merge": self.schedule.to_dict(),
            "reader": repr((self.reader.sampling, self.reader.transform, self.reader.max_seconds)),
            "dtype": [str(parameter.dtype), str(self.autocast)],
            "device": parameter.device.type,
            "versions": [vidtldr.__version__, torch.__version__, version("av")],
        }
        if self.schedule.pooling == "mass":  # never read entries from before mass was kept
            context["kept"] = ["tokens", "mass", "pooled"]
        return context


def retrieval_model(encoding: VideoEncoding) -> UMTRetrieval:
    """Return the model, checked to be one that compares videos with texts.

    Raises:
        TypeError: If it is not.
    """
    if not isinstance(encoding.model, UMTRetrieval):
        raise TypeError(
            f"model must be a UMTRetrieval, got {type(encoding.model).__name__}. Load the "
            "checkpoint with task='retrieval'."
        )
    return encoding.model


def embed_pooled(encoding: VideoEncoding, pooled: Tensor) -> Tensor:
    """Project pooled vectors (B, C) of a `UMTRetrieval` to unit vectors (B, E), float32, CPU."""
    model = retrieval_model(encoding)
    dtype = next(model.parameters()).dtype
    with encoding.computing():
        x = pooled.to(encoding.device, dtype)
        embeddings = model.embed_video(VideoFeatures(x[:, None], x))
    return embeddings.float().cpu().clone()  # the copy is not an inference tensor
