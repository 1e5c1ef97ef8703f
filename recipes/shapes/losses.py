"""The bundled model's training losses: prompts, contrast, matching and answers.

Letters: `B` clips, `T` texts, `L` text tokens, `E` channels of the shared space, `Q` questions per
clip.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from vidtldr.models.umt.retrieval import TextFeatures
from vidtldr.models.umt.vision import VideoFeatures
from vidtldr.shapes.factors import FactorRow
from vidtldr.shapes.language import (
    FULL_CAPTIONS,
    LABELS,
    PHRASES,
    caption,
    label_of,
    motion_index,
    questions,
)
from vidtldr.shapes.model import ShapesUMT
from vidtldr.shapes.world import ShapesClips

__all__ = ["TrainingTexts", "text_losses", "write_texts"]

MAX_TOKENS = 24
MAX_ANSWER_TOKENS = 5
NUM_QUESTIONS = 3
IGNORED = -100
PROMPTS = tuple(text for texts in PHRASES.values() for text in texts) + LABELS


@dataclass(frozen=True)
class TrainingTexts:
    """Captions, questions and answers for a batch of clips.

    Attributes:
        captions: A true caption of each clip, B texts.
        altered: The same with one factor changed, B texts.
        questions: B * Q texts, those of a clip adjacent.
        answers: Their answers.
        targets: For each factor of `PHRASES`, then for the labels: index of the text that is true
            of each clip, shape (B,); -100 where none is.
    """

    captions: list[str]
    altered: list[str]
    questions: list[str]
    answers: list[str]
    targets: list[Tensor]


def write_texts(clips: ShapesClips, rng: random.Random) -> TrainingTexts:
    """Write captions, questions and answers for a batch of clips."""
    rows = clips.factors.rows()
    asked = [
        rng.choices(questions(row, (speeds[0], speeds[1])), k=NUM_QUESTIONS)
        for row, speeds in zip(rows, clips.speeds.tolist(), strict=True)
    ]
    phrasings = [rng.randrange(len(FULL_CAPTIONS)) for _ in rows]
    return TrainingTexts(
        captions=[caption(row, p) for row, p in zip(rows, phrasings, strict=True)],
        altered=[caption(_alter(row, rng), p) for row, p in zip(rows, phrasings, strict=True)],
        questions=[q.question for each in asked for q in each],
        answers=[q.answer for each in asked for q in each],
        targets=[
            torch.tensor([_target(row, name) for row in rows]) for name in (*PHRASES, "label")
        ],
    )


def _alter(row: FactorRow, rng: random.Random) -> FactorRow:
    """Change one factor that the caption names."""
    counts = {"shape": 8, "colour": 8, "size": 2, "motion": 8}
    if row.motion == 0:
        counts["direction"] = 4
    if row.num_objects == 2:
        counts |= {"second_shape": 8, "second_colour": 8, "second_motion": 2, "relation": 4}
    name, count = rng.choice(list(counts.items()))
    old = getattr(row, name)
    values = vars(row) | {name: (old + rng.randrange(1, count)) % count}
    return FactorRow(**values)


def _target(row: FactorRow, name: str) -> int:
    if name == "label":
        return label_of(row)
    if name == "motion":
        return motion_index(row)
    if name == "number":
        return row.num_objects - 1
    if row.num_objects == 1 and name.startswith(("second", "relation")):
        return IGNORED
    return int(getattr(row, name))


def text_losses(model: ShapesUMT, video: VideoFeatures, texts: TrainingTexts) -> dict[str, Tensor]:
    """Compute the text losses of a batch of clips, each a scalar.

    Args:
        model: The model being trained.
        video: The clips, encoded by its vision encoder.
        texts: Texts about the clips.
    """
    videos = model.embed_video(video)
    prompts = model.embed_text(_read(model, PROMPTS))
    captions = model.embed_text(_read(model, [*texts.captions, *texts.altered]))
    similarity = videos @ captions.T / model.temp  # (B, 2 B), the altered ones last
    hard = _hard_negatives(similarity[:, : len(videos)].detach())
    return {
        "prompts": _prompt_loss(videos @ prompts.T / model.temp, texts.targets),
        "contrast": _contrast(similarity),
        "matching": _matching(model, video, texts, hard),
        "answers": _answering(model, video, texts),
    }


def _read(model: ShapesUMT, texts: Sequence[str]) -> TextFeatures:
    """Encode texts, padded to the longest of them."""
    ids, mask = model.tokenizer(texts, MAX_TOKENS)
    length = int(mask.sum(dim=1).max())
    device = model.temp.device
    return model.encode_text(ids[:, :length].to(device), mask[:, :length].to(device))


def _contrast(similarity: Tensor) -> Tensor:
    """Contrast clips with all captions, altered ones too, and captions with clips; (B, 2 B)."""
    right = torch.arange(len(similarity), device=similarity.device)
    to_clip = similarity[:, : len(similarity)].T
    return (F.cross_entropy(similarity, right) + F.cross_entropy(to_clip, right)) / 2


def _prompt_loss(similarity: Tensor, targets: list[Tensor]) -> Tensor:
    """Cross-entropy of the true text among those of each factor; mean over all factors."""
    groups = similarity.split([len(texts) for texts in (*PHRASES.values(), LABELS)], dim=1)
    found = [
        F.cross_entropy(group, target.to(group.device), ignore_index=IGNORED, reduction="sum")
        / (target != IGNORED).sum().clamp(min=1).to(group.device)
        for group, target in zip(groups, targets, strict=True)
    ]
    return torch.stack(found).mean()


def _hard_negatives(similarity: Tensor) -> Tensor:
    """Sample another clip's caption for each clip, more similar ones more often, (B,)."""
    own = torch.eye(len(similarity), dtype=torch.bool, device=similarity.device)
    chances = similarity.masked_fill(own, -torch.inf).softmax(dim=1) + 1e-6
    return chances.masked_fill(own, 0).multinomial(1).squeeze(1)


def _matching(model: ShapesUMT, video: VideoFeatures, texts: TrainingTexts, hard: Tensor) -> Tensor:
    """Loss of telling each clip's caption from another clip's and from the altered one."""
    read = _read(model, [*texts.captions, *texts.altered])
    own = torch.arange(len(hard), device=hard.device)
    chosen = torch.stack((own, hard, own + len(hard)), dim=1).flatten()  # a clip's three in a row
    fused = model.text_encoder.fuse(read.tokens[chosen], read.attention_mask[chosen], video.tokens)
    logits = model.itm_head(fused[:, 0]).float()
    matches = (torch.arange(len(chosen), device=hard.device) % 3 == 0).long()
    weight = torch.tensor([0.5, 1.0], device=hard.device)  # two negatives per positive
    return F.cross_entropy(logits, matches, weight=weight)


def _answering(model: ShapesUMT, video: VideoFeatures, texts: TrainingTexts) -> Tensor:
    """Loss of writing the answer to each question, token by token."""
    asked = _read(model, texts.questions)
    states = model.text_encoder.fuse(asked.tokens, asked.attention_mask, video.tokens)
    tokens = model.tokenizer([f"{answer} [SEP]" for answer in texts.answers], MAX_ANSWER_TOKENS)
    ids, mask = (part.to(states.device) for part in tokens)
    logits = model.text_decoder(ids, mask, states, asked.attention_mask)[:, :-1]
    targets = ids[:, 1:].masked_fill(mask[:, 1:] == 0, IGNORED)
    return F.cross_entropy(logits.float().flatten(0, 1), targets.flatten(), ignore_index=IGNORED)
