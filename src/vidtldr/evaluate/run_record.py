"""The record of a run that makes its result reproducible."""

import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch

import vidtldr
from vidtldr.budget.counts import resolved_r
from vidtldr.evaluate.settings import Settings
from vidtldr.evaluate.view_classifier import ClassifiedVideo, ViewClassifier
from vidtldr.hosts.registry import find_host
from vidtldr.measure.flops import count_flops
from vidtldr.tasks.fingerprint import file_sha256
from vidtldr.tasks.video_features import EncodedVideo, VideoEncoding

__all__ = ["FileRecord", "RunRecord", "VideoNote", "record_run"]


@dataclass(frozen=True)
class FileRecord:
    """A file that the result depends on.

    Attributes:
        path: As it was given.
        sha256: Hash of its content, 64 hexadecimal digits.
    """

    path: str
    sha256: str


@dataclass(frozen=True)
class VideoNote:
    """A note about one video.

    Attributes:
        path: The file.
        text: The note.
    """

    path: str
    text: str


@dataclass(frozen=True)
class RunRecord:
    """One run: what it measured, with what, on what; ready for JSON with `asdict`.

    Attributes:
        protocol: The protocol's flags.
        schedule_name: Name of the schedule; None if it has none.
        schedule: The fields of the `MergeConfig` that was given; None for an unmerged run.
        r: Tokens that each layer removed, with shares and budgets resolved to counts; None for an
            unmerged run.
        model: The fields of the model's config.
        device: Where the model ran.
        dtype: dtype of its weights.
        autocast: Half-precision dtype that it computed in; None for none.
        gflops_per_clip: GFLOPs for one clip.
        flops_rule: How they are counted.
        clips_per_second: Throughput of what is counted, without reading; None if every clip came
            from the cache.
        num_encoded: Clips that were encoded.
        num_from_cache: Videos whose features or logits came from the cache.
        num_videos: Videos in the set.
        failed_videos: Videos that could not be decoded, each with the reason. They are misses; of a
            classification they are left out.
        video_notes: What was unusual about other videos.
        files: Annotations, answers and weights.
        versions: vidtldr, torch, python, platform.
    """

    protocol: dict[str, Any]
    schedule_name: str | None
    schedule: dict[str, Any] | None
    r: tuple[int, ...] | None
    model: dict[str, Any]
    device: str
    dtype: str
    autocast: str | None
    gflops_per_clip: float
    flops_rule: str
    clips_per_second: float | None
    num_encoded: int
    num_from_cache: int
    num_videos: int
    failed_videos: tuple[VideoNote, ...]
    video_notes: tuple[VideoNote, ...]
    files: dict[str, FileRecord]
    versions: dict[str, str]


def record_run(
    runner: VideoEncoding | ViewClassifier,
    settings: Settings,
    protocol: Any,
    rows: Sequence[EncodedVideo] | Sequence[ClassifiedVideo],
    files: Mapping[str, str | os.PathLike[str]],
) -> RunRecord:
    """Record a run that has just ended.

    Args:
        runner: What ran the model on the videos.
        settings: How it ran.
        protocol: A protocol of `vidtldr.evaluate.protocols`.
        rows: The videos; what was computed of them is no longer needed.
        files: Files that the result depends on, by role; the weights are added.
    """
    merge = runner.merge
    weights = next(runner.model.parameters())
    if settings.weights_file is not None:
        files = {**files, "weights": settings.weights_file}
    if isinstance(runner, ViewClassifier):
        model, flops, counted = runner.config, runner.flops_per_clip, "whole model"
    else:
        model, flops = runner.model.config.to_dict(), _encoder_flops(runner)
        counted = "vision encoder"
    rate = runner.num_encoded / runner.encode_seconds if runner.num_encoded else None
    return RunRecord(
        protocol=asdict(protocol),
        schedule_name=settings.schedule_name if merge is not None else None,
        schedule=None if merge is None else merge.to_dict(),
        r=None if merge is None else resolved_r(merge, find_host(runner.model)),
        model=model,
        device=_device_name(weights.device),
        dtype=str(weights.dtype).removeprefix("torch."),
        autocast=None if runner.autocast is None else str(runner.autocast)[6:],
        gflops_per_clip=flops / 1e9,
        flops_rule=f"{counted}, 1 MAC = 2 FLOPs",
        clips_per_second=rate,
        num_encoded=runner.num_encoded,
        num_from_cache=sum(row.from_cache for row in rows),
        num_videos=len(rows),
        failed_videos=tuple(VideoNote(row.path, row.error) for row in rows if row.error),
        video_notes=tuple(VideoNote(row.path, "; ".join(row.notes)) for row in rows if row.notes),
        files={
            name: FileRecord(os.fspath(path), file_sha256(path)) for name, path in files.items()
        },
        versions={
            "vidtldr": vidtldr.__version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
            "platform": platform.platform(),
        },
    )


def _encoder_flops(encoding: VideoEncoding) -> int:
    """Measure on a black clip: how much is merged does not depend on the content."""
    config, weights = encoding.model.config, next(encoding.model.parameters())
    side = config.image_size
    clip = torch.zeros(1, config.num_frames, 3, side, side, device=weights.device)
    return count_flops(lambda: encoding.encode_pixels(clip))


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return f"{device} ({torch.cuda.get_device_name(device)})"
    return f"{device} ({platform.machine()}, {torch.get_num_threads()} threads)"
