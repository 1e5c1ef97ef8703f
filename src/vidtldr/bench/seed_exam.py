"""One seed of the world of shapes: its clips, drawn once, and a variant's results on them.

Letters: `B` clips, `E` channels of the shared space.
"""

import hashlib
import time
from collections.abc import Callable, Sequence
from functools import cached_property, lru_cache
from typing import Any, Literal

import torch
from torch import Tensor

from vidtldr.baselines.baseline import Forward, Unmerged, Variant
from vidtldr.bench.outcomes import write_outcomes
from vidtldr.measure.fork_rng import fork_rng
from vidtldr.models.umt.vision import VideoFeatures
from vidtldr.shapes.exam import (
    EncodedClips,
    answer_questions,
    best_candidates,
    distinct_clips,
    encode_clips,
    encode_prompts,
    label_clips,
    search_clips,
)
from vidtldr.shapes.factors import FactorRow, Split
from vidtldr.shapes.language import (
    DESCRIPTIONS,
    KINDS,
    LABELS,
    caption,
    description,
    label_of,
)
from vidtldr.shapes.model import ShapesUMT, normalise
from vidtldr.shapes.world import ShapesClips, ShapesWorld
from vidtldr.tasks.text_features import EncodedTexts

__all__ = ["HARD_KINDS", "Questions", "RememberedWorld", "SeedExam"]

Questions = Literal["hard", "all"]
HARD_KINDS = ("motion", "faster")  # the others are answered right 99 to 100 % of the time
NUM_FINGERPRINTED = 16


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
    """The clips of one seed, and the texts that they are asked about, encoded once.

    Args:
        model: In evaluation mode, unmerged, on its device.
        seed: Seed of the world and of a variant's random draws.
        split: Split of the world.
        num_clips: Clips whose captions all differ.
        batch_size: Clips per batch.
        questions: `"hard"` asks only about motion and speed, as other questions are nearly always
            answered right; `"all"` asks everything.
    """

    def __init__(
        self,
        model: ShapesUMT,
        seed: int,
        split: Split,
        num_clips: int,
        batch_size: int,
        questions: Questions = "all",
    ) -> None:
        config = model.config
        self.model = model
        self.seed = seed
        self.batch_size = batch_size
        self.questions = questions
        self.world = RememberedWorld(seed, split, config.num_frames, config.image_size)
        self.indices = distinct_clips(self.world, num_clips)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the truth about all clips and the pixels of the first few."""
        digest = hashlib.sha256(repr(self.rows).encode())
        few = ShapesWorld.clips(self.world, self.indices[:NUM_FINGERPRINTED])
        digest.update(few.frames.contiguous().numpy().data)
        return digest.hexdigest()

    @cached_property
    def unmerged_embeddings(self) -> Tensor:
        """The unmerged model's embeddings of the clips, unit vectors (B, E)."""
        return self.encode(Unmerged()).embeddings

    @cached_property
    def rows(self) -> list[FactorRow]:
        """The truth about each clip."""
        return self.world.factors(self.indices).rows()

    @cached_property
    def _captions(self) -> EncodedTexts:
        return encode_prompts(self.model, [caption(row) for row in self.rows], "captions")

    def measure(self, variant: Variant) -> dict[str, Any]:
        """Encode every clip, search, label and ask.

        Returns:
            The outcomes of each of `text_to_video`, `video_to_text`, `labels`, `hard_labels` and
            of each kind of question, as in `write_outcomes`; the mean cosine of the clips'
            embeddings with the unmerged model's; and the processor time of each part.
        """
        captions, watch = self._captions, Stopwatch()
        clips = self.encode(variant)
        if variant == Unmerged():  # measured first, so the clips are encoded once
            self.unmerged_embeddings = clips.embeddings
        watch.stop("encode")
        found = search_clips(self.model, clips, captions)
        outcomes = {
            "text_to_video": _each_its_own(best_candidates(found.text_to_video)),
            "video_to_text": _each_its_own(best_candidates(found.video_to_text)),
            **self._label(clips),
        }
        watch.stop("search")
        outcomes |= self._ask(clips)
        watch.stop("answers")
        cosine = (clips.embeddings * self.unmerged_embeddings).sum(dim=1).mean()
        return {"outcomes": outcomes, "cosine": cosine.item(), "seconds": watch.seconds}

    def _label(self, clips: EncodedClips) -> dict[str, str]:
        """Label all clips by shape and motion, and those of one object by their description."""
        labels, descriptions = (
            zip(label_clips(clips, _encoded(self.model, texts)), clips.rows, strict=True)
            for texts in (LABELS, DESCRIPTIONS)
        )
        return {
            "labels": write_outcomes([label == label_of(row)] for label, row in labels),
            "hard_labels": write_outcomes(
                [DESCRIPTIONS[index] == description(row)] if row.num_objects == 1 else []
                for index, row in descriptions
            ),
        }

    def _ask(self, clips: EncodedClips) -> dict[str, str]:
        """Answer the questions; return the outcomes of each kind, as a string."""
        kinds = HARD_KINDS if self.questions == "hard" else KINDS
        asked = [[each for each in about if each.kind in kinds] for about in clips.questions()]
        given = answer_questions(self.model.answering(), clips.tokens, asked)
        pairs = [list(zip(*each, strict=True)) for each in zip(asked, given, strict=True)]
        return {
            kind: write_outcomes(
                [answer == question.answer for question, answer in about if question.kind == kind]
                for about in pairs
            )
            for kind in kinds
        }

    def encode(self, variant: Variant) -> EncodedClips:
        """Encode every clip; what a variant draws at random follows from the exam's seed.

        Args:
            variant: How to run the vision encoder.

        Returns:
            The clips' tokens and embeddings, with the truth about each clip.
        """
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
        video = forward(normalise(clips.frames.to(weights.device)).to(weights.dtype))
        return video, model.embed_video(video)

    return encode


class Stopwatch:
    """Measures the processor time of this process in parts; other programs do not add to it.

    Attributes:
        seconds: Seconds of each part, by name, summed over threads.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.process_time()

    def stop(self, name: str) -> None:
        """End a part and begin the next."""
        now = time.process_time()
        self.seconds[name] = round(now - self._last, 3)
        self._last = now


@lru_cache(maxsize=2)
def _encoded(model: ShapesUMT, texts: tuple[str, ...]) -> EncodedTexts:
    """Encode texts that all seeds share, only once."""
    return encode_prompts(model, texts, "labels")


def _each_its_own(found: Sequence[int]) -> str:
    return write_outcomes([index == place] for place, index in enumerate(found))
