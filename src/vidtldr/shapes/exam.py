"""Ask a model what it sees in clips of the world, and compare with the truth.

Letters: `B` clips, `N` tokens of a clip, `C` channels, `E` channels of the shared space.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count

import torch
from torch import Tensor

from vidtldr.evaluate.metrics import accuracy, best_ranks, recall
from vidtldr.evaluate.ranking import dual_scores, rerank
from vidtldr.shapes.factors import FactorRow
from vidtldr.shapes.language import ANSWERS, LABELS, caption, label_of, questions
from vidtldr.shapes.model import ShapesUMT, normalise
from vidtldr.shapes.world import ShapesClips, ShapesWorld
from vidtldr.tasks.ask import answer_tokens
from vidtldr.tasks.text_features import encode_texts, prompt_tokens

__all__ = ["EncodedClips", "ExamResult", "distinct_clips", "encode_clips", "encode_with", "examine"]

NUM_RERANKED = 16  # candidates that the fusion encoder scores again for every query
NUM_RANKED_ANSWERS = 8
MAX_ANSWER_TOKENS = 5


@dataclass(frozen=True)
class EncodedClips:
    """Clips as the vision encoder gave them back, on the CPU.

    Attributes:
        tokens: Tokens of each clip, shape (N, C) each.
        embeddings: Unit vectors, shape (B, E), float32.
        rows: The truth about each clip.
        speeds: Mean speeds of both objects of each clip, pixels a frame.
    """

    tokens: list[Tensor]
    embeddings: Tensor
    rows: list[FactorRow]
    speeds: list[tuple[float, float]]


@dataclass(frozen=True)
class ExamResult:
    """How much a model got right, percent.

    Attributes:
        text_to_video_r1: The caption that names every factor finds its clip first.
        video_to_text_r1: The clip finds its caption first.
        answering: Questions answered exactly.
        labels: Clips whose best of 64 labels is the true one.
        answering_by_kind: Questions of each kind answered exactly.
    """

    text_to_video_r1: float
    video_to_text_r1: float
    answering: float
    labels: float
    answering_by_kind: dict[str, float]


def distinct_clips(world: ShapesWorld, num_clips: int, start: int = 0) -> list[int]:
    """The first indices from `start` on whose full captions all differ.

    Args:
        world: Where the clips are.
        num_clips: How many, at most a few tens of thousands.
        start: First index looked at.
    """
    seen: set[str] = set()
    chosen: list[int] = []
    for first in count(start, 256):
        indices = range(first, first + 256)
        for index, row in zip(indices, world.factors(indices).rows(), strict=True):
            if len(chosen) == num_clips:
                return chosen
            if caption(row) not in seen:
                seen.add(caption(row))
                chosen.append(index)
    raise AssertionError  # the loop above has no end


@torch.inference_mode()
def encode_clips(
    encode: Callable[[ShapesClips], tuple[Tensor, Tensor]],
    world: ShapesWorld,
    indices: Sequence[int],
    batch_size: int = 32,
) -> EncodedClips:
    """Draw clips and encode them.

    Args:
        encode: Returns tokens (B, N, C) and embeddings (B, E) of a batch.
        world: Where the clips are.
        indices: Which of them.
        batch_size: Clips at once.
    """
    tokens: list[Tensor] = []
    embeddings: list[Tensor] = []
    rows: list[FactorRow] = []
    speeds: list[tuple[float, float]] = []
    for start in range(0, len(indices), batch_size):
        clips = world.clips(indices[start : start + batch_size])
        x, embedded = encode(clips)
        tokens.extend(x.cpu())
        embeddings.append(embedded.float().cpu())
        rows.extend(clips.factors.rows())
        speeds.extend((first, second) for first, second in clips.speeds.tolist())
    return EncodedClips(tokens, torch.cat(embeddings), rows, speeds)


def encode_with(model: ShapesUMT) -> Callable[[ShapesClips], tuple[Tensor, Tensor]]:
    """The plain way to encode a batch of clips: the model as it is."""

    def encode(clips: ShapesClips) -> tuple[Tensor, Tensor]:
        video = model.encode_video(normalise(clips.frames).to(model.temp.device))
        return video.tokens, model.embed_video(video)

    return encode


@torch.inference_mode()
def examine(model: ShapesUMT, clips: EncodedClips) -> ExamResult:
    """Search, label and ask, and count what is right.

    Args:
        model: In evaluation mode; its text side is asked.
        clips: What it, or a faster version of it, made of the clips; captions must all differ.
    """
    to_video, to_text = _retrieval(model, clips)
    by_kind = _answering(model, clips)
    right = [hit for hits in by_kind.values() for hit in hits]
    return ExamResult(
        text_to_video_r1=to_video,
        video_to_text_r1=to_text,
        answering=accuracy(right),
        labels=_labels(model, clips),
        answering_by_kind={kind: accuracy(hits) for kind, hits in sorted(by_kind.items())},
    )


def _retrieval(model: ShapesUMT, clips: EncodedClips) -> tuple[float, float]:
    captions = [caption(row) for row in clips.rows]
    texts = encode_texts(model, prompt_tokens(model.tokenizer, captions, "captions"))
    dual = dual_scores(list(clips.embeddings), texts)
    scores = rerank(model, clips.tokens.__getitem__, texts, dual, NUM_RERANKED)
    right = [[index] for index in range(len(captions))]
    ranks = (best_ranks(part, right) for part in (scores.text_to_video, scores.video_to_text))
    to_video, to_text = (recall(part).r1 for part in ranks)
    return to_video, to_text


def _labels(model: ShapesUMT, clips: EncodedClips) -> float:
    texts = encode_texts(model, prompt_tokens(model.tokenizer, LABELS, "labels"))
    best = (clips.embeddings @ texts.row_embeddings[texts.rows].T).argmax(dim=1)
    truth = [label_of(row) for row in clips.rows]
    return accuracy([found == true for found, true in zip(best.tolist(), truth, strict=True)])


def _answering(model: ShapesUMT, clips: EncodedClips) -> dict[str, list[bool]]:
    """Whether each question was answered exactly, by kind of question."""
    answering, device = model.answering(), model.temp.device
    candidates = answer_tokens(answering, ANSWERS, MAX_ANSWER_TOKENS)
    answer_ids, answer_mask = (part.to(device) for part in candidates)
    right: dict[str, list[bool]] = defaultdict(list)
    for tokens, row, speeds in zip(clips.tokens, clips.rows, clips.speeds, strict=True):
        asked = questions(row, speeds)
        texts = prompt_tokens(answering.tokenizer, [q.question for q in asked], "questions")
        ids, mask = (part.to(device) for part in texts)
        video = tokens[None].to(device, model.text_proj.weight.dtype)
        states = answering.encode_questions(video, ids, mask)
        ranked = answering.rank_encoded(states, mask, answer_ids, answer_mask, NUM_RANKED_ANSWERS)
        for question, best in zip(asked, ranked.ids[:, 0].tolist(), strict=True):
            right[question.kind].append(ANSWERS[best] == question.answer)
    return right
