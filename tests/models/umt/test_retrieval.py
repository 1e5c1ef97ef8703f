import pytest
import torch
from support import umt_reference as reference
from support.tiny_umt import TEXT, TINY, weights_of
from torch.testing import assert_close

from vidtldr.models.umt import TextFeatures, VideoFeatures


def both_precisions(model, compute):
    """The slow reference with float32 and with float64 weights."""
    return [compute(weights_of(model, dtype)) for dtype in (torch.float32, torch.float64)]


def test_text_tokens_equal_the_slow_reference(retrieval, texts, assert_close_to_reference):
    text = TINY.text_config()
    features = retrieval.encode_text(*texts)
    assert isinstance(features, TextFeatures)
    assert features.attention_mask is texts[1]
    for i, (ids, mask) in enumerate(zip(*texts, strict=True)):
        eager, exact = both_precisions(
            retrieval,
            lambda weights: reference.read_text(weights, text, ids, mask),  # noqa: B023
        )
        assert_close_to_reference(features.tokens[i], eager, exact)
        assert_close_to_reference(features.pooled[i], eager[0], exact[0])


def test_dual_scores_are_cosines_of_the_projections(
    retrieval, clips, texts, assert_close_to_reference
):
    video, text = retrieval.encode_video(clips), retrieval.encode_text(*texts)

    def cosines(weights):
        dtype = weights["temp"].dtype
        a = reference.linear(video.pooled.to(dtype), weights, "vision_proj")
        b = reference.linear(text.pooled.to(dtype), weights, "text_proj")
        rows = [[u @ w / (u.square().sum() * w.square().sum()).sqrt() for w in b] for u in a]
        return torch.stack([torch.stack(row) for row in rows])

    scores = retrieval.dual_scores(video, text)
    assert scores.shape == (3, 5)
    assert scores.abs().max() <= 1 + 1e-6
    assert_close_to_reference(scores, *both_precisions(retrieval, cosines))


def test_reranked_scores_equal_the_slow_reference(
    retrieval, clips, texts, assert_close_to_reference
):
    ids, mask = texts
    pairs = torch.tensor([0, 2, 1, 0, 2])  # a video for each text

    def scores(weights):
        text, values = TINY.text_config(), []
        for i, j in enumerate(pairs.tolist()):
            tokens, _ = reference.vision(weights, TINY, clips[j : j + 1])
            x = reference.read_text(weights, text, ids[i], mask[i])
            x = reference.fuse(weights, text, x, mask[i], tokens[0])
            values.append(reference.linear(x[0], weights, "itm_head")[1])
        return torch.stack(values)

    video, text = retrieval.encode_video(clips), retrieval.encode_text(ids, mask)
    fast = retrieval.rerank_scores(video.tokens[pairs], text.tokens, mask)
    assert_close_to_reference(fast, *both_precisions(retrieval, scores))


def test_one_video_for_all_texts_equals_pairs(retrieval, clips, texts):
    video, text = retrieval.encode_video(clips[:1]), retrieval.encode_text(*texts)
    shared = retrieval.rerank_scores(video.tokens, text.tokens, texts[1])
    pairs = retrieval.rerank_scores(video.tokens.repeat(5, 1, 1), text.tokens, texts[1])
    assert_close(shared, pairs, rtol=1e-5, atol=1e-5)


def test_one_text_for_all_videos_equals_pairs(retrieval, clips, texts):
    ids, mask = texts[0][4:], texts[1][4:]
    video, text = retrieval.encode_video(clips), retrieval.encode_text(ids, mask)
    shared = retrieval.rerank_scores(video.tokens, text.tokens, mask)
    pairs = retrieval.rerank_scores(video.tokens, text.tokens.repeat(3, 1, 1), mask.repeat(3, 1))
    assert_close(shared, pairs, rtol=1e-5, atol=1e-5)


def test_padding_changes_nothing(retrieval, clips, texts):
    ids, mask = texts
    video = retrieval.encode_video(clips[:1]).tokens
    padded = retrieval.encode_text(ids[:1], mask[:1])
    short = retrieval.encode_text(ids[:1, :3], mask[:1, :3])
    assert_close(padded.pooled, short.pooled, rtol=1e-5, atol=1e-5)
    assert_close(
        retrieval.rerank_scores(video, padded.tokens, mask[:1]),
        retrieval.rerank_scores(video, short.tokens, mask[:1, :3]),
        rtol=1e-5,
        atol=1e-5,
    )


@pytest.mark.parametrize("as_type", [torch.bool, torch.int32, torch.float32])
def test_masks_of_other_types_are_the_same_mask(retrieval, texts, as_type):
    ids, mask = texts
    expected = retrieval.encode_text(ids, mask).tokens
    assert torch.equal(retrieval.encode_text(ids, mask.to(as_type)).tokens, expected)


def test_a_text_without_any_token_gives_no_nan(retrieval, texts):
    ids, mask = texts
    assert retrieval.encode_text(ids, torch.zeros_like(mask)).tokens.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_finite_and_scores_are_float32(retrieval, clips, texts, dtype):
    state = {name: value.clone() for name, value in retrieval.state_dict().items()}
    model = type(retrieval)(TINY).to(dtype).eval()
    model.load_state_dict(state)
    video, text = model.encode_video(clips), model.encode_text(*texts)
    dual = model.dual_scores(video, text)
    reranked = model.rerank_scores(video.tokens[:1], text.tokens, texts[1])
    for scores in (dual, reranked):
        assert scores.dtype == torch.float32
        assert scores.isfinite().all()


def test_attention_is_fused_in_text_and_fusion_too(retrieval, clips, texts, count_calls):
    video = retrieval.encode_video(clips[:1])
    with count_calls() as calls:
        text = retrieval.encode_text(*texts)
        retrieval.rerank_scores(video.tokens, text.tokens, texts[1])
    layers, fused = TEXT["num_hidden_layers"], TEXT["num_hidden_layers"] - TEXT["fusion_layer"]
    assert calls.counts["scaled_dot_product_attention"] == layers + fused
    assert "softmax" not in calls.counts


def test_arguments_go_by_position(retrieval, clips, texts):
    video = VideoFeatures(*retrieval.encode_video(clips))
    text = TextFeatures(*retrieval.encode_text(*texts))
    assert retrieval.dual_scores(video, text).shape == (3, 5)


def test_numbers_of_videos_and_texts_that_do_not_pair_are_refused(retrieval, clips, texts):
    video, text = retrieval.encode_video(clips), retrieval.encode_text(*texts)
    with pytest.raises(ValueError, match=r"one row a pair.*got \(3, 5, 5\)"):
        retrieval.rerank_scores(video.tokens, text.tokens, texts[1])


def test_a_text_longer_than_the_positions_is_refused(retrieval):
    ids = torch.zeros(1, 10, dtype=torch.int64)
    with pytest.raises(ValueError, match="at most 9 tokens a text, got 10"):
        retrieval.encode_text(ids, torch.ones_like(ids))
