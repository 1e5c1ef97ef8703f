"""Ask a model what it sees in clips of the world, and compare with the truth.

Letters: `B` clips, `N` tokens of a clip, `C` channels, `E` channels of the shared space.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count

import torch
from torch import Tensor

from vidtldr.evaluate.metrics import accuracy
from vidtldr.evaluate.ranking import Scores, dual_scores, rerank
from vidtldr.models.umt.answering import UMTAnswering
from vidtldr.models.umt.retrieval import UMTRetrieval
from vidtldr.models.umt.tokenizer import TextTokens
from vidtldr.models.umt.vision import VideoFeatures, VideoTokens
from vidtldr.shapes.factors import FactorRow
from vidtldr.shapes.language import ANSWERS, LABELS, Question, caption, label_of, questions
from vidtldr.shapes.model import ShapesUMT, normalise
from vidtldr.shapes.world import ShapesClips, ShapesWorld
from vidtldr.tasks.ask import answer_tokens
from vidtldr.tasks.text_features import EncodedTexts, encode_texts, prompt_tokens

__all__ = [
    "AnswerSheet",
    "EncodedClips",
    "ExamResult",
    "answer_questions",
    "best_candidates",
    "distinct_clips",
    "encode_clips",
    "encode_prompts",
    "encode_with",
    "examine",
    "fill_sheet",
    "label_clips",
    "mark",
    "search_clips",
]

NUM_RERANKED = 8  # candidates per query that the fusion encoder rescores
NUM_RANKED_ANSWERS = 4
MAX_ANSWER_TOKENS = 5
CLIPS_ASKED_AT_ONCE = 16
CPU = torch.device("cpu")


@dataclass(frozen=True)
class EncodedClips:
    """Clips encoded by the vision encoder, on the CPU.

    Attributes:
        tokens: Tokens (N, C) of each clip and their mass.
        embeddings: Unit vectors, shape (B, E), float32.
        rows: The truth about each clip.
        speeds: Mean speeds of both objects of each clip, pixels per frame.
    """

    tokens: list[VideoTokens]
    embeddings: Tensor
    rows: list[FactorRow]
    speeds: list[tuple[float, float]]

    def questions(self) -> list[list[Question]]:
        """The questions about each clip."""
        return [questions(row, each) for row, each in zip(self.rows, self.speeds, strict=True)]


@dataclass(frozen=True)
class AnswerSheet:
    """A model's answers about clips, right or wrong.

    Attributes:
        clips: For each clip's caption, the index of the clip found.
        captions: For each clip, the index of the clip whose caption was found.
        labels: For each clip, the best of `LABELS`.
        answers: For each clip, the answer to each of its questions.
    """

    clips: tuple[int, ...]
    captions: tuple[int, ...]
    labels: tuple[str, ...]
    answers: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class ExamResult:
    """How much a model got right, in percent.

    Attributes:
        text_to_video_r1: Captions, naming every factor, that rank their clip first.
        video_to_text_r1: Clips that rank their caption first.
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
    """Return the first indices from `start` on whose full captions all differ.

    Args:
        world: World of the clips.
        num_clips: Number of clips, at most a few tens of thousands.
        start: First index to consider.
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
    encode: Callable[[ShapesClips], tuple[VideoFeatures, Tensor]],
    world: ShapesWorld,
    indices: Sequence[int],
    batch_size: int = 32,
) -> EncodedClips:
    """Draw clips and encode them.

    Args:
        encode: Returns features and embeddings (B, E) of a batch.
        world: World of the clips.
        indices: Indices of the clips.
        batch_size: Clips per batch.
    """
    tokens: list[VideoTokens] = []
    embeddings: list[Tensor] = []
    rows: list[FactorRow] = []
    speeds: list[tuple[float, float]] = []
    for start in range(0, len(indices), batch_size):
        clips = world.clips(indices[start : start + batch_size])
        video, embedded = encode(clips)
        tokens.extend(each.to(CPU, each.x.dtype) for each in video.by_clip())
        embeddings.append(embedded.float().cpu())
        rows.extend(clips.factors.rows())
        speeds.extend((first, second) for first, second in clips.speeds.tolist())
    return EncodedClips(tokens, torch.cat(embeddings), rows, speeds)


def encode_with(model: ShapesUMT) -> Callable[[ShapesClips], tuple[VideoFeatures, Tensor]]:
    """Return a function that encodes a batch of clips with the model as is."""

    def encode(clips: ShapesClips) -> tuple[VideoFeatures, Tensor]:
        video = model.encode_video(normalise(clips.frames).to(model.temp.device))
        return video, model.embed_video(video)

    return encode


def examine(model: ShapesUMT, clips: EncodedClips) -> ExamResult:
    """Search, label and ask, and score the answers.

    Args:
        model: In evaluation mode; its text side is used.
        clips: Clips encoded by it, or by a faster version of it; captions must all differ.
    """
    return mark(fill_sheet(model, model.answering(), clips), clips)


@torch.inference_mode()
def fill_sheet(model: UMTRetrieval, answering: UMTAnswering, clips: EncodedClips) -> AnswerSheet:
    """Search, label and ask.

    Args:
        model: In evaluation mode; searches and labels.
        answering: The same weights; answers questions.
        clips: Clips encoded by them, or by a faster version of them; captions must all differ.

    Raises:
        ValueError: If a score is NaN.
    """
    captions = encode_prompts(model, [caption(row) for row in clips.rows], "captions")
    found = search_clips(model, clips, captions)
    labels = label_clips(clips, encode_prompts(model, LABELS, "labels"))
    return AnswerSheet(
        clips=best_candidates(found.text_to_video),
        captions=best_candidates(found.video_to_text),
        labels=tuple(LABELS[index] for index in labels),
        answers=answer_questions(answering, clips.tokens, clips.questions()),
    )


def mark(sheet: AnswerSheet, clips: EncodedClips) -> ExamResult:
    """Compare a model's answers about clips with the truth."""
    by_kind: dict[str, list[bool]] = defaultdict(list)
    for asked, given in zip(clips.questions(), sheet.answers, strict=True):
        for question, answer in zip(asked, given, strict=True):
            by_kind[question.kind].append(answer == question.answer)
    labels = [LABELS[label_of(row)] for row in clips.rows]
    return ExamResult(
        text_to_video_r1=accuracy([found == i for i, found in enumerate(sheet.clips)]),
        video_to_text_r1=accuracy([found == i for i, found in enumerate(sheet.captions)]),
        answering=accuracy([hit for hits in by_kind.values() for hit in hits]),
        labels=accuracy([a == b for a, b in zip(sheet.labels, labels, strict=True)]),
        answering_by_kind={kind: accuracy(hits) for kind, hits in sorted(by_kind.items())},
    )


def encode_prompts(model: UMTRetrieval, texts: Sequence[str], name: str) -> EncodedTexts:
    """Encode texts of the world; `name` is for error messages."""
    return encode_texts(model, prompt_tokens(model.tokenizer, texts, name))


def search_clips(model: UMTRetrieval, clips: EncodedClips, captions: EncodedTexts) -> Scores:
    """Score every clip against every caption; the best of each query are rescored by fusion."""
    dual = dual_scores(list(clips.embeddings), captions)
    return rerank(model, clips.tokens.__getitem__, captions, dual, NUM_RERANKED)


def label_clips(clips: EncodedClips, labels: EncodedTexts) -> tuple[int, ...]:
    """Find the label whose embedding is nearest to each clip's; ties go to the first.

    Raises:
        ValueError: If a score is NaN.
    """
    return best_candidates(clips.embeddings @ labels.row_embeddings[labels.rows].T)


def best_candidates(scores: Tensor) -> tuple[int, ...]:
    """Find the best candidate of each query; ties go to the first.

    Args:
        scores: Higher is better, a row for each query.

    Raises:
        ValueError: If a score is NaN.
    """
    if scores.isnan().any():
        raise ValueError("scores must be numbers, got NaN. Use float32.")
    return tuple(scores.argmax(dim=1).tolist())


@torch.inference_mode()
def answer_questions(
    model: UMTAnswering, tokens: Sequence[VideoTokens], asked: Sequence[list[Question]]
) -> tuple[tuple[str, ...], ...]:
    """Answer every question; clips with equally many questions are batched together.

    Args:
        model: In evaluation mode.
        tokens: Tokens (N, C) of each clip and their mass.
        asked: The questions about each clip; a clip may have none.
    """
    candidates = answer_tokens(model, ANSWERS, MAX_ANSWER_TOKENS)
    given: list[tuple[str, ...]] = [()] * len(asked)
    by_count: dict[int, list[int]] = defaultdict(list)
    for index, each in enumerate(asked):
        if each:
            by_count[len(each)].append(index)
    for indices in by_count.values():
        for start in range(0, len(indices), CLIPS_ASKED_AT_ONCE):
            batch = indices[start : start + CLIPS_ASKED_AT_ONCE]
            videos = VideoTokens.stack([tokens[index] for index in batch])
            answers = _answer_batch(model, candidates, videos, [asked[index] for index in batch])
            for index, answer in zip(batch, answers, strict=True):
                given[index] = answer
    return tuple(given)


def _answer_batch(
    model: UMTAnswering,
    candidates: TextTokens,
    videos: VideoTokens,
    asked: Sequence[list[Question]],
) -> list[tuple[str, ...]]:
    """Answer equally many questions about each of B clips."""
    weights = next(model.parameters())
    prompts = [question.question for each in asked for question in each]
    texts = prompt_tokens(model.tokenizer, prompts, "questions")
    ids, mask, answer_ids, answer_mask = (part.to(weights.device) for part in (*texts, *candidates))
    videos = videos.to(weights.device, weights.dtype)
    states = model.encode_questions(videos.x, ids, mask, videos.mass)
    ranked = model.rank_encoded(states, mask, answer_ids, answer_mask, NUM_RANKED_ANSWERS)
    best = ranked.ids[:, 0].view(len(asked), -1).tolist()
    return [tuple(ANSWERS[index] for index in row) for row in best]
