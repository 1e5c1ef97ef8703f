"""One seed of the world of shapes: its clips, drawn once, and a variant's results on them.

Letters: `B` clips, `E` channels of the shared space.
"""

import hashlib
from collections.abc import Callable, Sequence
from functools import cached_property

import torch
from torch import Tensor

from vidtldr.baselines.baseline import Forward, Unmerged, Variant
from vidtldr.measure.fork_rng import fork_rng
from vidtldr.models.umt.vision import VideoFeatures
from vidtldr.shapes.exam import EncodedClips, distinct_clips, encode_clips, examine
from vidtldr.shapes.factors import Split
from vidtldr.shapes.model import ShapesUMT, normalise
from vidtldr.shapes.world import ShapesClips, ShapesWorld

__all__ = ["RememberedWorld", "SeedExam"]


class RememberedWorld(ShapesWorld):
    """A world that caches the batches it draws; arguments as for `ShapesWorld`."""

    def __init__(self, seed: int, split: Split, num_frames: int, side: int) -> None:
        super().__init__(seed, split, num_frames, side)
        self._drawn: dict[tuple[tuple[int, ...], ...], ShapesClips] = {}

    def clips(
        self, indices: Sequence[int] | Tensor, frames: Sequence[int] | None = None
    ) -> ShapesClips:
        """Draw clips, or return those already drawn for the same indices and frames."""
        asked = (indices, range(self.num_frames) if frames is None else frames)
        key = tuple(tuple(torch.as_tensor(each).tolist()) for each in asked)
        if key not in self._drawn:
            self._drawn[key] = super().clips(indices, frames)
        return self._drawn[key]


class SeedExam:
    """The clips of one seed.

    Args:
        model: In evaluation mode, unmerged, on its device.
        seed: Seed of the world and of a variant's random draws.
        split: Split of the world.
        num_clips: Clips whose captions all differ.
        batch_size: Clips per batch.
    """

    def __init__(
        self, model: ShapesUMT, seed: int, split: Split, num_clips: int, batch_size: int
    ) -> None:
        config = model.config
        self.model = model
        self.seed = seed
        self.batch_size = batch_size
        self.world = RememberedWorld(seed, split, config.num_frames, config.image_size)
        self.indices = distinct_clips(self.world, num_clips)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of all pixels and their ground truth."""
        digest = hashlib.sha256()
        for start in range(0, len(self.indices), self.batch_size):
            clips = self.world.clips(self.indices[start : start + self.batch_size])
            digest.update(clips.frames.contiguous().numpy().data)
            digest.update(repr(clips.factors.rows()).encode())
        return digest.hexdigest()

    @cached_property
    def unmerged_embeddings(self) -> Tensor:
        """The unmerged model's embeddings of the clips, unit vectors (B, E)."""
        return self._encode(Unmerged()).embeddings

    def measure(self, variant: Variant) -> dict[str, float]:
        """Encode every clip and compute all figures.

        Returns:
            Recall at 1 in both directions and their mean, answers and labels, percent; and the mean
            cosine of the clips' embeddings with the unmerged model's.
        """
        encoded = self._encode(variant)
        result = examine(self.model, encoded)
        cosine = (encoded.embeddings * self.unmerged_embeddings).sum(dim=1).mean()
        return {
            "r1": (result.text_to_video_r1 + result.video_to_text_r1) / 2,
            "text_to_video_r1": result.text_to_video_r1,
            "video_to_text_r1": result.video_to_text_r1,
            "answering": result.answering,
            "labels": result.labels,
            "cosine": cosine.item(),
        }

    def _encode(self, variant: Variant) -> EncodedClips:
        encode = _encoding(self.model, variant.forward_of(self.model.vision_encoder))
        with fork_rng(next(self.model.parameters()).device):
            torch.manual_seed(self.seed)
            return encode_clips(encode, self.world, self.indices, self.batch_size)


def _encoding(
    model: ShapesUMT, forward: Forward
) -> Callable[[ShapesClips], tuple[VideoFeatures, Tensor]]:
    """Make the function `encode_clips` takes: clips to features and embeddings."""
    weights = next(model.parameters())

    def encode(clips: ShapesClips) -> tuple[VideoFeatures, Tensor]:
        video = forward(normalise(clips.frames.to(weights.device)))
        return video, model.embed_video(video)

    return encode
