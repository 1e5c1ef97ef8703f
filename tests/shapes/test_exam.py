from dataclasses import replace
from typing import Any

import pytest
import torch
from support.tiny_shapes import tiny_model
from torch import Tensor, nn

from vidtldr.bundled import BUNDLED
from vidtldr.models.umt.answering import RankedAnswers
from vidtldr.models.umt.retrieval import TextFeatures
from vidtldr.models.umt.tokenizer import TextTokenizer
from vidtldr.models.umt.vision import VideoTokens
from vidtldr.shapes.exam import (
    NUM_RERANKED,
    EncodedClips,
    distinct_clips,
    encode_clips,
    encode_with,
    examine,
    fill_sheet,
    mark,
)
from vidtldr.shapes.language import ANSWERS, LABELS, caption, label_of
from vidtldr.shapes.model import ShapesUMT
from vidtldr.shapes.world import ShapesWorld
from vidtldr.tasks.text_features import prompt_tokens

NUM_CLIPS = 23


@pytest.fixture(scope="module")
def world() -> ShapesWorld:
    return ShapesWorld(0, "test", 4)


@pytest.fixture(scope="module")
def model() -> ShapesUMT:
    return tiny_model()


@pytest.fixture(scope="module")
def clips(world: ShapesWorld, model: ShapesUMT) -> EncodedClips:
    return encode_clips(encode_with(model), world, distinct_clips(world, NUM_CLIPS))


class Knowing(nn.Module):
    """Stands where a model stands, and knows: a clip's only token is the number of the clip.

    Its texts are bags of words. It compares the caption of a clip with what is asked for, so what
    it gets wrong is the exam's mistake.
    """

    def __init__(self, clips: EncodedClips) -> None:
        super().__init__()
        self.tokenizer = TextTokenizer(BUNDLED, tiny_model().config.text_config())
        self.text_proj = nn.Linear(1, 1)
        self.captions = self._bags([caption(row) for row in clips.rows])
        self.asked = clips.questions()
        self.clips: list[int] = []

    def _bags(self, texts: list[str]) -> Tensor:
        ids, _ = prompt_tokens(self.tokenizer, texts, "texts")
        return nn.functional.one_hot(ids, 80).sum(dim=1)[:, 5:].float()

    def encode_text(self, ids: Tensor, mask: Tensor) -> TextFeatures:
        bags = (nn.functional.one_hot(ids, 80) * mask[..., None]).sum(dim=1)[:, 5:].float()
        return TextFeatures(bags[:, None].expand(-1, ids.shape[1], -1), bags, mask)

    def embed_text(self, text: TextFeatures) -> Tensor:
        return nn.functional.normalize(text.pooled, dim=-1)

    def rerank_scores(self, video: Tensor, x: Tensor, mask: Tensor, mass: None) -> Tensor:
        return -(x[:, 0] - self.captions[int(video[0, 0, 0])]).abs().sum(dim=1)

    def encode_questions(self, video: Tensor, ids: Tensor, mask: Tensor, mass: None) -> Tensor:
        self.clips = [int(token) for token in video[:, 0, 0]]
        return torch.zeros(len(ids))

    def rank_encoded(
        self, states: Tensor, mask: Tensor, answer_ids: Tensor, answer_mask: Tensor, k: int
    ) -> RankedAnswers:
        given, each = [], len(states) // len(self.clips)
        for clip in self.clips:
            right = [ANSWERS.index(question.answer) for question in self.asked[clip]]
            given += (right * each)[:each]  # about another clip there may be more to ask
        return RankedAnswers(torch.tensor(given)[:, None], torch.ones(len(given), 1))


def perfect(clips: EncodedClips) -> EncodedClips:
    """Clips whose embeddings are those of their labels, and whose tokens give them away."""
    knowing = Knowing(clips)
    labels = knowing._bags([LABELS[label_of(row)] for row in clips.rows])
    embeddings = nn.functional.normalize(labels, dim=-1)
    tokens = [VideoTokens(torch.full((1, 1), float(index))) for index in range(len(clips.rows))]
    return replace(clips, tokens=tokens, embeddings=embeddings)


def first_of(clips: EncodedClips, num_clips: int) -> EncodedClips:
    return EncodedClips(*(getattr(clips, name)[:num_clips] for name in vars(clips)))


def test_who_knows_everything_has_full_marks(clips: EncodedClips) -> None:
    knowing: Any = Knowing(clips)
    few = first_of(perfect(clips), NUM_RERANKED)
    result = mark(fill_sheet(knowing, knowing, few), few)  # so few are all scored by fusion
    assert result.text_to_video_r1 == result.video_to_text_r1 == 100
    assert result.answering == result.labels == 100
    assert set(result.answering_by_kind.values()) == {100.0}


def test_who_mixes_up_the_clips_has_none(clips: EncodedClips) -> None:
    knowing: Any = Knowing(clips)
    few = first_of(perfect(clips), NUM_RERANKED)
    mixed = replace(few, tokens=few.tokens[1:] + few.tokens[:1])
    sheet = fill_sheet(knowing, knowing, replace(mixed, rows=few.rows))
    assert mark(sheet, few).text_to_video_r1 == mark(sheet, few).video_to_text_r1 == 0


def test_marks_count_what_is_right(clips: EncodedClips) -> None:
    knowing: Any = Knowing(clips)
    few = first_of(perfect(clips), NUM_RERANKED)
    sheet = fill_sheet(knowing, knowing, few)
    first_two = (sheet.clips[1], sheet.clips[0], *sheet.clips[2:])
    answers = (tuple("nothing" for _ in sheet.answers[0]), *sheet.answers[1:])
    spoilt = replace(sheet, clips=first_two, labels=("a fox", *sheet.labels[1:]), answers=answers)
    result, asked = mark(spoilt, few), few.questions()
    assert result.text_to_video_r1 == 100 * (NUM_RERANKED - 2) / NUM_RERANKED
    assert result.video_to_text_r1 == 100
    assert result.labels == 100 * (NUM_RERANKED - 1) / NUM_RERANKED
    total = sum(len(each) for each in asked)
    assert result.answering == pytest.approx(100 * (total - len(asked[0])) / total)
    sizes = sum(q.kind == "size" for each in asked for q in each)
    assert result.answering_by_kind["size"] == pytest.approx(100 * (sizes - 1) / sizes)


def test_who_knows_nothing_is_near_chance(model: ShapesUMT, clips: EncodedClips) -> None:
    result = examine(model, clips)
    assert result.text_to_video_r1 <= 100 * 4 / NUM_CLIPS  # by chance 1 of 23
    assert result.video_to_text_r1 <= 100 * 4 / NUM_CLIPS
    assert result.labels <= 100 * 4 / NUM_CLIPS  # by chance 1 of 64
    assert result.answering < 40  # by chance 1 of 37, and one answer may be a common one


def test_scores_that_are_no_numbers_are_refused(model: ShapesUMT, clips: EncodedClips) -> None:
    broken = replace(clips, embeddings=clips.embeddings * torch.nan)
    with pytest.raises(ValueError, match="scores must be numbers, got NaN"):
        examine(model, broken)


def test_clips_are_encoded_alike_in_any_batch(
    world: ShapesWorld, model: ShapesUMT, clips: EncodedClips
) -> None:
    indices = distinct_clips(world, NUM_CLIPS)
    other = encode_clips(encode_with(model), world, indices, batch_size=5)
    assert other.rows == clips.rows
    assert other.speeds == clips.speeds
    # a batch may add up pixels in another order, by one step of 255
    assert torch.allclose(other.embeddings, clips.embeddings, atol=1e-2)
    assert [len(tokens.x) for tokens in other.tokens] == [64] * NUM_CLIPS
    with torch.no_grad():
        alone = model.encode_video(encode_input(world, indices[7]))
    assert torch.allclose(alone.tokens[0], clips.tokens[7].x, atol=0.05)


def encode_input(world: ShapesWorld, index: int) -> Tensor:
    from vidtldr.shapes.model import normalise

    return normalise(world.clips([index]).frames)


@pytest.fixture
def captions(world: ShapesWorld) -> list[str]:
    return [caption(row) for row in world.factors(range(600)).rows()]


def test_distinct_clips_are_the_first_of_each_caption(
    world: ShapesWorld, captions: list[str]
) -> None:
    first = sorted({text: captions.index(text) for text in captions}.values())
    assert len(first) < 600
    assert distinct_clips(world, 400) == first[:400]
    later = distinct_clips(world, 50, start=300)
    assert later[0] == 300
    assert len({captions[index] for index in later if index < 600}) == 50
