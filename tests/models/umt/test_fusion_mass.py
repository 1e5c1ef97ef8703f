"""What merged away still counts where texts attend to a video."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from torch.testing import assert_close

import vidtldr
from vidtldr.models.umt import UMTAnswering, UMTRetrieval, VideoFeatures
from vidtldr.patch.patching import patched, trace

NUM_TOKENS = 27
R = [9, 5]


@contextmanager
def merging(
    model: UMTRetrieval | UMTAnswering, score: str | None = None
) -> Iterator[vidtldr.patch.trace.Trace]:
    with patched(model, r=R, score=score, pooling="mass"), trace(model) as recorded:
        yield recorded


@pytest.fixture
def by_mass(retrieval, clips) -> VideoFeatures:
    with merging(retrieval, score="sharpness"):
        return retrieval.encode_video(clips)


def test_plain_merging_fuses_as_the_unmerged_tokens_do(
    retrieval, clips, texts, assert_close_to_reference
):
    exact_model = copy.deepcopy(retrieval).double()
    with merging(exact_model) as recorded:
        video = exact_model.encode_video(clips)
    whole = vidtldr.unmerge_tokens(video.tokens, recorded.source)
    assert (video.tokens.shape[1], whole.shape[1]) == (NUM_TOKENS - sum(R), NUM_TOKENS)
    assert video.mass.dtype == torch.float64
    ids, mask = (part[:3].repeat_interleave(2, dim=0) for part in texts)  # two texts a video
    exact = exact_model.text_encoder(ids, mask, whole)
    found = exact_model.text_encoder(ids, mask, video.tokens, video.mass)
    # Sums over NUM_TOKENS keys in another order, once a layer, behind three layers of norms.
    rounding = torch.finfo(torch.float64).eps * NUM_TOKENS * exact.abs().max()
    assert (found - exact).abs().max() <= 2 * 3 * rounding
    alike = exact_model.text_encoder(ids, mask, video.tokens)
    assert (alike - exact).abs().max() > 1e-3
    assert_close_to_reference(
        retrieval.text_encoder(ids, mask, video.tokens.float(), video.mass.float()),
        retrieval.text_encoder(ids, mask, whole.float()),
        exact,
    )


def test_answers_are_those_of_the_unmerged_tokens(answering, clips, texts):
    model = copy.deepcopy(answering).double()
    ids, mask = (part[:3] for part in texts)
    with merging(model) as recorded:
        ranked = model.rank_answers(clips, ids, mask, ids, mask, 3)
        tokens = model.vision_encoder(clips).tokens
    states = model.encode_questions(vidtldr.unmerge_tokens(tokens, recorded.source), ids, mask)
    expected = model.rank_encoded(states, mask, ids, mask, 3)
    assert torch.equal(ranked.ids, expected.ids)
    assert_close(ranked.probabilities, expected.probabilities)
    alike = model.rank_encoded(model.encode_questions(tokens, ids, mask), mask, ids, mask, 3)
    assert not torch.allclose(alike.probabilities, expected.probabilities, atol=1e-4)


@pytest.mark.parametrize("merge", [{"r": R}, {"r": [0], "pooling": "mass"}, None])
def test_without_merging_by_mass_there_is_none(retrieval, clips, merge):
    if merge is None:
        assert retrieval.encode_video(clips).mass is None
        return
    with patched(retrieval, **merge):
        video = retrieval.encode_video(clips)
    assert video.mass is None
    assert [clip.mass for clip in video.by_clip()] == [None] * 3


def test_mass_changes_no_token_and_stays_float32(retrieval, clips, by_mass):
    with patched(retrieval, r=R, score="sharpness"):
        assert torch.equal(retrieval.encode_video(clips).tokens, by_mass.tokens)
    assert by_mass.mass.dtype == torch.float32
    assert by_mass.mass.shape == by_mass.tokens.shape[:2]
    assert by_mass.mass.min() >= 1
    assert not torch.equal(by_mass.mass[0], by_mass.mass[2])


def test_clips_of_different_mass_score_in_a_batch_as_alone(retrieval, texts, by_mass):
    ids, mask = (part[:3] for part in texts)
    text = retrieval.encode_text(ids, mask)
    batch = retrieval.rerank_scores(by_mass.tokens, text.tokens, mask, by_mass.mass)
    alike = retrieval.rerank_scores(by_mass.tokens, text.tokens, mask)
    assert not torch.allclose(batch, alike, atol=1e-4)
    for i in range(3):
        one = slice(i, i + 1)
        alone = retrieval.rerank_scores(
            by_mass.tokens[one], text.tokens[one], mask[one], by_mass.mass[one]
        )
        assert_close(alone, batch[one], rtol=1e-5, atol=1e-5)


def test_one_video_with_mass_for_all_texts_equals_pairs(retrieval, texts, by_mass):
    text, mask = retrieval.encode_text(*texts), texts[1]
    tokens, mass = by_mass.tokens[2:], by_mass.mass[2:]
    shared = retrieval.rerank_scores(tokens, text.tokens, mask, mass)
    pairs = retrieval.rerank_scores(tokens.repeat(5, 1, 1), text.tokens, mask, mass.repeat(5, 1))
    assert_close(shared, pairs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_types_follow_float32(retrieval, texts, by_mass, dtype):
    text, mask = retrieval.encode_text(*texts), texts[1]
    exact = retrieval.text_encoder.fuse(text.tokens, mask, by_mass.tokens[:1], by_mass.mass[:1])
    half = copy.deepcopy(retrieval).to(dtype).text_encoder
    found = half.fuse(text.tokens.to(dtype), mask, by_mass.tokens[:1].to(dtype), by_mass.mass[:1])
    with torch.autocast("cpu", dtype):
        mixed = retrieval.text_encoder.fuse(text.tokens, mask, by_mass.tokens[:1], by_mass.mass[:1])
    assert found.dtype == dtype
    eager = half.fuse(text.tokens.to(dtype), mask, by_mass.tokens[:1].to(dtype))
    plain = retrieval.text_encoder.fuse(text.tokens, mask, by_mass.tokens[:1])
    # The mass costs no more precision than the layers without it do, and its own rounding.
    allowed = 2 * ((eager - plain).abs().max() + torch.finfo(dtype).eps * exact.abs().max())
    for each in (found, mixed):
        assert (each.float() - exact).abs().max() <= allowed


def test_mass_of_other_tokens_is_refused(retrieval, texts, by_mass):
    text = retrieval.encode_text(*texts)
    with pytest.raises(ValueError, match=r"video_mass must be \(3, 13\), a number for each video"):
        retrieval.text_encoder.fuse(text.tokens, texts[1], by_mass.tokens, by_mass.mass[:, :-1])


def test_a_batch_is_its_clips(by_mass):
    clips = by_mass.by_clip()
    batch = type(clips[0]).stack(clips)
    assert torch.equal(batch.x, by_mass.tokens)
    assert torch.equal(batch.mass, by_mass.mass)
    assert set(batch.tensors()) == {"x", "mass"}
    copied = clips[1].to(torch.device("cpu"), torch.float16, copy=True)
    assert copied.x.dtype == torch.float16
    assert copied.mass.dtype == torch.float32
    assert copied.mass.untyped_storage().nbytes() == copied.mass.nbytes
    assert torch.equal(copied.mass, by_mass.mass[1])
