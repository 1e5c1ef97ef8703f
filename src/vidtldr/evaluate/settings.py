"""How an evaluation runs; nothing here changes the results, except for rounding."""

import os
from dataclasses import dataclass

import torch

from vidtldr.config import MergeConfig
from vidtldr.models.umt.answering import UMTAnswering
from vidtldr.models.umt.retrieval import UMTRetrieval
from vidtldr.tasks.clip_reader import umt_reader
from vidtldr.tasks.video_features import VideoEncoding

__all__ = ["Settings"]


@dataclass(frozen=True)
class Settings:
    """How an evaluation runs.

    Attributes:
        cache_dir: Where features of videos are cached, so that an interrupted evaluation resumes
            where it stopped; None caches nothing.
        weights_file: The checkpoint's file or directory, for its hash in the result; None leaves
            the hash out.
        schedule_name: Name of the schedule, for the result.
        autocast: Half-precision dtype to compute in, as the authors do (torch.float16 on a GPU);
            None computes in the model's own.
        batch_size: Clips per batch of the vision encoder. With 1, a resumed evaluation is bitwise
            equal to an uninterrupted one; with more, equal up to rounding.
        pair_batch_size: Texts per batch of the fusion encoder, for one video.
        num_readers: Threads that decode videos.
        time_limit_seconds: Give up reading a video after this long.
        memory_bytes: Memory for video tokens between encoding and re-ranking; what does not fit is
            read from disk.
    """

    cache_dir: str | os.PathLike[str] | None = None
    weights_file: str | os.PathLike[str] | None = None
    schedule_name: str | None = None
    autocast: torch.dtype | None = None
    batch_size: int = 1
    pair_batch_size: int = 64
    num_readers: int = 2
    time_limit_seconds: float = 120.0
    memory_bytes: int = 2 * 2**30

    def __post_init__(self) -> None:
        for name in ("batch_size", "pair_batch_size", "num_readers"):
            if getattr(self, name) < 1:
                raise ValueError(
                    f"{name} must be at least 1, got {getattr(self, name)}. Pass a positive count."
                )
        if self.memory_bytes < 0:
            raise ValueError(f"memory_bytes must be at least 0, got {self.memory_bytes}. Pass 0.")

    def encoding(
        self,
        model: UMTRetrieval | UMTAnswering,
        merge: MergeConfig | None,
        max_seconds: float | None = None,
    ) -> VideoEncoding:
        """Prepare to encode videos by the protocol.

        Args:
            model: The model, on its device.
            merge: What to merge; None for nothing.
            max_seconds: Use only this much of each video.

        Raises:
            ValueError: If the schedule does not fit the model.
        """
        limit = self.time_limit_seconds
        reader = umt_reader(model.config, max_seconds=max_seconds, time_limit_seconds=limit)
        return VideoEncoding(model, reader, merge, cache_dir=self.cache_dir, autocast=self.autocast)
