"""Evaluate picking the right one of five captions (MSRVTT-MC).

Letters: `K` captions of a question, `N` tokens, `C` channels.
"""

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor

from vidtldr.config import MergeConfig
from vidtldr.evaluate.annotations import Choice, group_by_video, read_choices
from vidtldr.evaluate.metrics import accuracy
from vidtldr.evaluate.protocols import MULTIPLE_CHOICE, MultipleChoiceProtocol
from vidtldr.evaluate.run_record import RunRecord, record_run
from vidtldr.evaluate.settings import Settings
from vidtldr.evaluate.video_folder import VideoFolder
from vidtldr.models.umt.retrieval import UMTRetrieval
from vidtldr.models.umt.vision import VideoTokens
from vidtldr.steps import OnStep, ignore_steps, steps_of
from vidtldr.tasks.text_cleaning import clean_text
from vidtldr.tasks.text_features import EncodedTexts, encode_texts
from vidtldr.tasks.video_features import VideoEncoding, embed_pooled

__all__ = ["MultipleChoiceResult", "Pick", "choice_scores", "evaluate_multiple_choice"]


@dataclass(frozen=True)
class Pick:
    """One question answered.

    Attributes:
        video: As in the annotations.
        scores: Score of each caption in [0, 1]; empty if the video could not be decoded.
        pick: Index of the best, ties going to the first; None if the video could not be decoded.
        is_right: Whether the pick is right.
    """

    video: str
    scores: tuple[float, ...]
    pick: int | None
    is_right: bool


@dataclass(frozen=True)
class MultipleChoiceResult:
    """Multiple choice on one set.

    Attributes:
        accuracy: Percent of questions answered correctly, not rounded; a question about a video
            that cannot be decoded counts as wrong.
        num_questions: Number of questions.
        picks: One per question, in the order of the annotations.
        run: Record of the run.
    """

    accuracy: float
    num_questions: int
    picks: tuple[Pick, ...]
    run: RunRecord

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, ready for JSON."""
        return asdict(self)


def evaluate_multiple_choice(
    model: UMTRetrieval,
    annotations: str | os.PathLike[str],
    videos: str | os.PathLike[str],
    *,
    protocol: MultipleChoiceProtocol = MULTIPLE_CHOICE,
    merge: MergeConfig | None = None,
    settings: Settings | None = None,
    on_step: OnStep = ignore_steps,
) -> MultipleChoiceResult:
    """Evaluate a model on picking the right caption of a video.

    Args:
        model: The model, on its device.
        annotations: JSON file, see `read_choices`.
        videos: Directory of the videos.
        protocol: Number and lengths of captions, weights of the two scores.
        merge: What to merge; None evaluates the unmerged model.
        settings: How to run; None uses the defaults.
        on_step: Called after each caption encoded ("texts") and each question ("questions").

    Raises:
        ValueError: If an annotation is invalid (names file and line) or the schedule does not fit.
        OSError: If a file cannot be read or no video exists.
    """
    settings = settings or Settings()
    choices = read_choices(annotations, protocol.num_captions)
    by_video = group_by_video(choices)
    paths = VideoFolder(videos).find_all(by_video)
    encoding = settings.encoding(model, merge)
    texts = _encode_captions(encoding, model, choices, protocol, on_step)
    step = steps_of(on_step, "questions", len(choices))
    picks: dict[int, Pick] = {}
    rows = []
    encoded = encoding.encode_all(
        paths, batch_size=settings.batch_size, num_readers=settings.num_readers
    )
    for row, indices in zip(encoded, by_video.values(), strict=True):
        for index in indices:
            first = index * protocol.num_captions
            captions = range(first, first + protocol.num_captions)
            scores = None
            if row.tokens is not None and row.pooled is not None:
                features = (row.tokens, row.pooled)
                scores = choice_scores(encoding, model, *features, texts, captions, protocol)
            picks[index] = _judge(choices[index], scores)
            step()
        rows.append(replace(row, tokens=None, pooled=None))
    run = record_run(encoding, settings, protocol, rows, {"annotations": annotations})
    in_order = tuple(picks[index] for index in range(len(choices)))
    rate = accuracy([pick.is_right for pick in in_order])
    return MultipleChoiceResult(rate, len(choices), in_order, run)


def choice_scores(
    encoding: VideoEncoding,
    model: UMTRetrieval,
    tokens: VideoTokens,
    pooled: Tensor,
    texts: EncodedTexts,
    captions: Sequence[int],
    protocol: MultipleChoiceProtocol,
) -> Tensor:
    """Score the captions of one video, see `MultipleChoiceProtocol`.

    Args:
        encoding: Device and dtype to compute in.
        model: The model, on its device.
        tokens: Tokens of the video (N, C) and their mass.
        pooled: Its pooled vector, shape (C,).
        texts: All encoded captions.
        captions: Indices of the K captions of this question.
        protocol: The weights.

    Returns:
        Scores in [0, 1], shape (K,), float32, on the CPU.
    """
    embedding = embed_pooled(encoding, pooled[None])[0]
    cosines = texts.row_embeddings[texts.rows[list(captions)]] @ embedding
    fast = (cosines / model.temp.float().cpu()).softmax(dim=0)
    with encoding.computing():
        x, mask = texts.select(captions, encoding.device)
        dtype = next(model.parameters()).dtype
        video = VideoTokens.stack([tokens.to(encoding.device, dtype)])
        fused = model.text_encoder.fuse(x, mask, video.x, video.mass)
        logits = model.itm_head(fused[:, 0])
    match = logits.float().cpu().softmax(dim=1)[:, 1]
    return torch.as_tensor(protocol.match_weight * match + protocol.cosine_weight * fast)


def _encode_captions(
    encoding: VideoEncoding,
    model: UMTRetrieval,
    choices: Sequence[Choice],
    protocol: MultipleChoiceProtocol,
    on_step: OnStep,
) -> EncodedTexts:
    captions = [clean_text(caption) for choice in choices for caption in choice.captions]
    tokens = model.tokenizer(captions, protocol.max_text_tokens)
    with encoding.computing():
        return encode_texts(model, tokens, on_step=steps_of(on_step, "texts", len(captions)))


def _judge(choice: Choice, scores: Tensor | None) -> Pick:
    if scores is None:
        return Pick(choice.video, (), None, False)
    values = tuple(scores.tolist())
    pick = values.index(max(values))
    return Pick(choice.video, values, pick, pick == choice.answer)
