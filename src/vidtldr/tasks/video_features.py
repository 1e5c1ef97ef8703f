"""Features of many videos by UMT, from the cache where they are there.

Letters: `B` clips, `T` frames, `S` side of a frame, `N` tokens, `C` channels.
"""

import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.metadata import version

import torch
from torch import Tensor

import vidtldr
from vidtldr.hosts.budget import resolve_budget
from vidtldr.hosts.compiled_twin import CompiledTwin
from vidtldr.hosts.config import MergeConfig
from vidtldr.hosts.patching import patched
from vidtldr.hosts.registry import find_host
from vidtldr.hosts.twin import merged_twin
from vidtldr.models.umt.answering import UMTAnswering
from vidtldr.models.umt.retrieval import UMTRetrieval
from vidtldr.models.umt.vision import VideoFeatures, VideoTokens, VisionEncoder
from vidtldr.tasks.clip_reader import ClipReader, Pixels, read_ahead
from vidtldr.tasks.feature_cache import CachedFeatures, FeatureCache
from vidtldr.tasks.fingerprint import file_sha256, module_sha256
from vidtldr.video.decode import VideoError

__all__ = ["EncodedVideo", "VideoEncoding"]

CPU = torch.device("cpu")
UNMERGED = MergeConfig(r=())


@dataclass(frozen=True)
class EncodedVideo:
    """What is known of one video file.

    Attributes:
        path: The file, as it was given.
        tokens: Its tokens (N, C) and their mass, on the CPU; None if the video failed.
        pooled: Its pooled vector, shape (C,), on the CPU; None if the video failed.
        seconds: Time that the frames sampled from cover; None if unknown.
        notes: Everything unusual, a sentence each.
        error: Why there are no features; None if there are.
        from_cache: Whether the features were read and not computed.
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
    """A clip that was read and waits for the model, or a video that is done."""

    pixels: Pixels | None
    sha256: str | None
    done: EncodedVideo


class VideoEncoding:
    """Encodes videos with a UMT model and one schedule; a bad file never stops the others.

    The model is merged while it encodes and left as it was found. Numbers of a cached video are
    those of its first computation, to the bit.

    Args:
        model: A `UMTRetrieval` or `UMTAnswering`, on its device.
        reader: How videos are read, see `umt_reader`.
        merge: What to merge; None for nothing, also if the model is patched already.
        cache_dir: Where features are kept between runs; None keeps none.
        autocast: Half type to compute in, as the paper's protocol does on a GPU; None computes in
            the model's own. Tokens are kept in this type, in which attention reads them anyway.
        compile_for: Clips at once for which the vision encoder is compiled, here and once; other
            numbers run uncompiled. None compiles nothing. Features agree with uncompiled ones to
            rounding, as those of batches do, so a cache holds either.

    Attributes:
        schedule: What is merged, a budget turned into counts.
        compiled: The compiled encoder; None without one.
        num_encoded: Clips that the model encoded.
        encode_seconds: Time that the model took for `num_encoded` clips, reading left out.

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
        with patched(model, merge or UNMERGED):
            pass
        self.schedule = resolve_budget(merge or UNMERGED, find_host(model))
        self.cache = None if cache_dir is None else FeatureCache(cache_dir, self._context())
        self.compiled = None if compile_for is None else self._compile(compile_for)
        if self.compiled is not None:
            self.compiled.warm_up(self.encode_pixels)

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return next(self.model.parameters()).device

    def computing(self) -> ExitStack:
        """A context without gradients, in the half type wanted."""
        stack = ExitStack()
        stack.enter_context(torch.inference_mode())
        if self.autocast is not None:
            stack.enter_context(torch.autocast(self.device.type, self.autocast))
        return stack

    def encode_pixels(self, pixel_values: Tensor) -> VideoFeatures:
        """Encode clips (B, T, 3, S, S) with this schedule."""
        x = pixel_values.to(self.device)
        if self.compiled is not None:
            # As `torch.stack` lays clips out, and moved before inference mode, which marks what is
            # made in it: other strides and marks would be compiled for again.
            x = x.contiguous()
            with self.computing():
                found: VideoFeatures = self.compiled.model_for(x)(x)
                # A recorded CUDA graph writes the next clips' features over these.
                mass = None if found.mass is None else found.mass.clone()
                return VideoFeatures(found.tokens.clone(), found.pooled.clone(), mass)
        with patched(self.model, self.schedule), self.computing():
            features: VideoFeatures = self.model.vision_encoder(x)
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
        """Encode video files in turn; the next ones are read meanwhile.

        Args:
            paths: Local files.
            batch_size: Clips that the model encodes at once. With more than one, what a batch
                holds depends on what the cache holds, so runs agree to rounding, not to the bit.
            num_readers: Threads that read.
            on_step: Called after every video, to show progress.

        Yields:
            One row a path, in order; a video that cannot be read has an error and no features.
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
        """Merge in a twin for good, as a compiled model cannot be patched for each batch."""
        side = self.model.config.image_size
        shape = (num_clips, self.reader.sampling.num_frames, 3, side, side)
        return CompiledTwin(merged_twin(self.model.vision_encoder, self.schedule), shape)

    def _prepare(self, path: str) -> _Waiting:
        """Look the video up and read it if it is not there; runs in a thread."""
        sha256, damage = None, None
        try:
            sha256 = None if self.cache is None else _sha256_of_video(path)
            if self.cache is not None and sha256 is not None:
                found, damage = self.cache.load(sha256)
                if found is not None:
                    return _Waiting(None, sha256, EncodedVideo(path, *found, from_cache=True))
            pixels = self.reader(path)
        except VideoError as error:
            return _Waiting(None, sha256, EncodedVideo(path, error=str(error)))
        notes = pixels.notes if damage is None else (*pixels.notes, damage)
        return _Waiting(pixels, sha256, EncodedVideo(path, seconds=pixels.seconds, notes=notes))

    def _finish(
        self, group: Sequence[_Waiting], on_step: Callable[[], object]
    ) -> Iterator[EncodedVideo]:
        read = [item.pixels.values for item in group if item.pixels is not None]
        encoded = iter(self._timed_encode(read))
        for item in group:
            row = item.done
            if item.pixels is not None:
                row = self._keep(item, item.pixels, *next(encoded))
            on_step()
            yield row

    def _timed_encode(self, clips: list[Tensor]) -> list[tuple[VideoTokens, Tensor]]:
        if not clips:
            return []
        start = time.perf_counter()
        features = self.encode_pixels(torch.stack(clips))
        kept = self.autocast or features.tokens.dtype
        # Copies wait for the device; each clip gets memory of its own, or one would keep all.
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
            error = "the model's features must be finite, got NaN or inf. Use dtype float32."
            return EncodedVideo(row.path, seconds=row.seconds, notes=row.notes, error=error)
        if self.cache is not None and item.sha256 is not None:
            features = CachedFeatures(tokens, pooled, pixels.seconds, pixels.notes)
            self.cache.save(item.sha256, features)
        return EncodedVideo(row.path, tokens, pooled, row.seconds, row.notes)

    def _context(self) -> dict[str, object]:
        """Everything that decides the features but the video."""
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
        if self.schedule.pooling == "mass":  # never read what was kept before mass was
            context["kept"] = ["tokens", "mass", "pooled"]
        return context


def _sha256_of_video(path: str) -> str | None:
    """The hash of a regular file's content; None where reading would never end or cannot be."""
    try:
        return file_sha256(path) if os.path.isfile(path) else None
    except OSError:
        return None
