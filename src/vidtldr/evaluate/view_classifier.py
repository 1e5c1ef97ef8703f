"""Classify many videos by all views of each, reusing cached logits.

Letters: `B` clips, `T` frames, `V` views of a video, `K` classes.
"""

import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from importlib.metadata import version
from typing import Any

import torch
from torch import Tensor, nn

import vidtldr
from vidtldr.budget.counts import resolve_budget
from vidtldr.config import MergeConfig
from vidtldr.hosts.registry import find_host
from vidtldr.measure.flops import count_flops
from vidtldr.patch.patching import current_config, remove_patch
from vidtldr.patch.twin import merged_twin, twin
from vidtldr.tasks.clip_reader import read_ahead
from vidtldr.tasks.fingerprint import module_sha256
from vidtldr.tasks.pretrained import Pretrained
from vidtldr.tasks.tensor_cache import CachedTensors, TensorCache, sha256_of_video
from vidtldr.tasks.unchanged import FileWatch
from vidtldr.video.decode import Clip, VideoError, read_clip
from vidtldr.video.local_file import is_lack_of_memory, video_errors
from vidtldr.video.views import View, Views

__all__ = ["ClassifiedVideo", "ViewClassifier"]

_NO_MEMORY = "classifying it takes more memory than there is. Free some memory, or lower `batch`."
_NOT_FINITE = "the model's logits must be finite, got NaN or inf. Use float32."
# Of a config: not what the model computes.
_ONLY_NAMES = ("_name_or_path", "id2label", "label2id", "transformers_version")


@dataclass(frozen=True, eq=False)
class ClassifiedVideo:
    """The logits of one video file, or why it failed.

    Attributes:
        path: The file, as given.
        logits: Of each view, shape (V, K), float32, on the CPU; None if the video failed.
        notes: Everything unusual about the file, one sentence each.
        error: Why there are no logits; None if there are.
        from_cache: Whether the logits were read from the cache.
    """

    path: str
    logits: Tensor | None = None
    notes: tuple[str, ...] = ()
    error: str | None = None
    from_cache: bool = False


@dataclass(frozen=True, eq=False)
class _Waiting:
    """A video that was read and waits for the model, or a finished one, without a clip.

    Attributes:
        done: The row, without logits where there is a clip.
        sha256: Hash of the file; None if it was not needed.
        clip: Frames of all views.
        views: Those that differ.
        which: For each of the V views, which of these it is.
    """

    done: ClassifiedVideo
    sha256: str | None
    clip: Clip | None = None
    views: Sequence[View] = ()
    which: Sequence[int] = ()


class ViewClassifier:
    """Classifies videos with one model and one schedule; a bad file never stops the others.

    Each video is decoded once for all of its views. Views that are the same, such as three crops of
    a square, run once. With merging, a copy runs that shares the weights.

    Args:
        pretrained: The classifier.
        views: The views of every video, by its transform.
        merge: What to merge; None for nothing, even if the model is already patched.
        cache_dir: Directory to cache logits in between runs; None caches nothing.
        autocast: Half-precision dtype to compute in; None uses the model's own.
        time_limit_seconds: Time limit for reading a video.
        max_seconds: Use only this much of each video; None uses all.

    Attributes:
        schedule: The merging schedule, with any budget resolved to counts; None without merging.
        flops_per_clip: Floating-point operations of one clip; 1 MAC = 2 FLOPs. Measured on a black
            one, as how much is merged does not depend on the content.
        is_sigmoid: Whether each class has a probability of its own, see `ClassLogits`.
        num_encoded: Clips that the model classified.
        encode_seconds: Time that the model took for `num_encoded` clips, excluding reading.

    Raises:
        ValueError, NotImplementedError: As `apply_patch`.
    """

    def __init__(
        self,
        pretrained: Pretrained,
        views: Views,
        merge: MergeConfig | None = None,
        *,
        cache_dir: str | os.PathLike[str] | None = None,
        autocast: torch.dtype | None = None,
        time_limit_seconds: float = 120.0,
        max_seconds: float | None = None,
    ) -> None:
        self.model = pretrained.model
        self.views = views
        self.merge = merge
        self.autocast = autocast
        self.num_encoded = 0
        self.encode_seconds = 0.0
        self._note = pretrained.note
        self._time_limit_seconds = time_limit_seconds
        self._max_seconds = max_seconds
        self.schedule = None
        self._running: nn.Module = self.model
        if merge is not None:
            self.schedule = resolve_budget(merge, find_host(self.model))
            self._running = merged_twin(self.model, self.schedule)
        elif current_config(self.model) is not None:
            self._running = remove_patch(twin(self.model))
        black, outputs = torch.zeros(1, views.sampling.num_frames, 3, *views.size), []
        self.flops_per_clip = count_flops(lambda: outputs.append(self._run(black)))
        self.is_sigmoid = bool(getattr(outputs[0], "is_sigmoid", False))
        self._cache = None
        if cache_dir is not None:
            self._cache = TensorCache(cache_dir, self._context(), ("logits",))

    @property
    def config(self) -> dict[str, Any]:
        """Sizes of the model, as its config has them, JSON-serialisable."""
        configs = (getattr(module, "config", None) for module in self.model.modules())
        found = next((each for each in configs if hasattr(each, "to_dict")), None)
        fields = {} if found is None else found.to_dict()
        kept = {name: value for name, value in fields.items() if name not in _ONLY_NAMES}
        plain: dict[str, Any] = json.loads(json.dumps(kept, default=str))
        return plain

    def logits(self, pixel_values: Tensor) -> Tensor:
        """Classify clips (B, T, 3, h, w) with this schedule.

        Returns:
            Shape (B, K), float32, on the CPU.
        """
        logits: Tensor = self._run(pixel_values).logits
        return logits.float().cpu()

    def classify_all(
        self,
        paths: Iterable[str],
        *,
        batch_size: int = 1,
        num_readers: int = 2,
        on_step: Callable[[], object] = lambda: None,
    ) -> Iterator[ClassifiedVideo]:
        """Classify video files in order, reading the next ones meanwhile.

        Args:
            paths: Local files.
            batch_size: Clips per batch. What has fewer views than that shares batches with other
                videos; what these are depends on what is cached, so runs agree up to rounding, not
                bit for bit.
            num_readers: Reader threads.
            on_step: Called after every video, to show progress.

        Yields:
            One row per path, in order; a video that cannot be read has an error and no logits.
        """
        group: list[_Waiting] = []
        for item in read_ahead(self._prepare, paths, num_readers):
            group.append(item)
            num_clips = sum(len(each.views) for each in group)
            if not 0 < num_clips < batch_size or len(group) == 4 * batch_size:
                yield from self._finish(group, batch_size, on_step)
                group = []
        yield from self._finish(group, batch_size, on_step)

    def _run(self, pixel_values: Tensor) -> Any:
        parameter = next(self.model.parameters())
        x = pixel_values.to(parameter.device, parameter.dtype)
        with ExitStack() as stack:
            stack.enter_context(torch.inference_mode())
            if self.autocast is not None:
                stack.enter_context(torch.autocast(parameter.device.type, self.autocast))
            return self._running(pixel_values=x)

    def _prepare(self, path: str) -> _Waiting:
        """Look a video up in the cache, and read it on a miss; runs in a thread."""
        sha256, damage = None, None
        try:
            watch = FileWatch(path)
            sha256 = None if self._cache is None else sha256_of_video(path)
            if self._cache is not None and sha256 is not None:
                found, damage = self._cache.load(sha256)
                if found is not None:
                    logits = found.tensors["logits"]
                    row = ClassifiedVideo(path, logits, found.notes, from_cache=True)
                    return _Waiting(row, sha256)
            clip = self._read(path)
            watch.validate_unchanged()
            with video_errors(path):
                views, which = self.views.of(clip)
        except VideoError as error:
            return _Waiting(ClassifiedVideo(path, error=str(error)), sha256)
        notes = clip.notes if damage is None else (*clip.notes, damage)
        return _Waiting(ClassifiedVideo(path, notes=notes), sha256, clip, views, which)

    def _read(self, path: str) -> Clip:
        clip = read_clip(
            path,
            self.views.sampling,
            max_seconds=self._max_seconds,
            time_limit_seconds=self._time_limit_seconds,
            transform=self.views.reading,
        )
        notes = (*clip.notes, *self.views.notes(clip), *self._note(*clip.size))
        return replace(clip, notes=notes)

    def _finish(
        self, group: Sequence[_Waiting], batch_size: int, on_step: Callable[[], object]
    ) -> Iterator[ClassifiedVideo]:
        clips = [(item.clip, view) for item in group for view in item.views if item.clip]
        error = None
        try:
            logits = self._timed_logits(clips, batch_size)
        except Exception as caught:
            if not is_lack_of_memory(caught):
                raise
            error = _NO_MEMORY
        start = 0
        for item in group:
            row = item.done
            if item.clip is not None and error is not None:
                row = replace(row, error=error)
            elif item.clip is not None:
                end = start + len(item.views)
                row = self._keep(item, item.clip, logits[start:end][list(item.which)])
                start = end
            on_step()
            yield row

    def _timed_logits(self, clips: Sequence[tuple[Clip, View]], batch_size: int) -> Tensor:
        """Logits of clips, in batches; (0,) if there are none."""
        found = []
        for start in range(0, len(clips), batch_size):
            batch = clips[start : start + batch_size]
            pixel_values = torch.stack([self.views.pixels(clip, view) for clip, view in batch])
            before = time.perf_counter()
            found.append(self.logits(pixel_values))  # on the CPU, so the device has finished
            self.encode_seconds += time.perf_counter() - before
            self.num_encoded += len(batch)
        return torch.cat(found) if found else torch.empty(0)

    def _keep(self, item: _Waiting, clip: Clip, logits: Tensor) -> ClassifiedVideo:
        if not logits.isfinite().all():
            return replace(item.done, error=_NOT_FINITE)
        if self._cache is not None and item.sha256 is not None:
            entry = CachedTensors({"logits": logits}, clip.duration_seconds, clip.notes)
            self._cache.save(item.sha256, entry)
        return replace(item.done, logits=logits)

    def _context(self) -> dict[str, object]:
        """Everything the logits depend on except the video."""
        parameter = next(self.model.parameters())
        return {
            "kept": ["logits of views"],
            "weights": module_sha256(self.model),
            "model": [type(self.model).__qualname__, self.config],
            "merge": None if self.schedule is None else self.schedule.to_dict(),
            "views": repr((self.views, self._max_seconds)),
            "dtype": [str(parameter.dtype), str(self.autocast)],
            "device": parameter.device.type,
            "versions": [
                vidtldr.__version__,
                torch.__version__,
                version("av"),
                version("transformers"),
            ],
        }
