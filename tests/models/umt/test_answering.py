import pytest
import torch
from support import umt_reference as reference
from support.tiny_umt import TINY, token_ids, weights_of
from torch.testing import assert_close

from vidtldr.models.umt import UMTAnswering
from vidtldr.models.umt import answering as answering_module


@pytest.fixture
def questions():
    return token_ids(8, (3, 6))


@pytest.fixture
def answers():
    """Seven answers of different lengths with different first tokens."""
    ids, mask = token_ids(9, (7, 5))
    ids[:, 1] = torch.arange(10, 17)
    return ids, mask


@pytest.mark.parametrize("k", [1, 4, 7])
def test_ranking_equals_the_slow_reference(answering, clips, questions, answers, k):
    text = TINY.text_config()
    weights = weights_of(answering, torch.float64)
    tokens, _ = reference.vision(weights, TINY, clips)
    ranked = answering.rank_answers(clips, *questions, *answers, k)
    assert ranked.ids.shape == ranked.probabilities.shape == (3, k)
    assert ranked.ids.dtype == torch.int64
    for i, (ids, mask) in enumerate(zip(*questions, strict=True)):
        states = reference.read_text(weights, text, ids, mask)
        states = reference.fuse(weights, text, states, mask, tokens[i])
        order, probabilities = reference.rank_answers(weights, text, states, mask, *answers, k)
        assert ranked.ids[i].tolist() == order
        assert_close(ranked.probabilities[i].double(), probabilities, rtol=1e-4, atol=1e-6)


def test_small_batches_of_candidates_give_the_same(
    answering, clips, questions, answers, monkeypatch
):
    whole = answering.rank_answers(clips, *questions, *answers, 7)
    for budget in (0, 3 * 5 * 29 * 4 * 3):  # one candidate a question, three
        monkeypatch.setattr(answering_module, "LOGITS_BUDGET_BYTES", budget)
        parts = answering.rank_answers(clips, *questions, *answers, 7)
        assert torch.equal(parts.ids, whole.ids)
        assert_close(parts.probabilities, whole.probabilities, rtol=1e-5, atol=1e-6)


def test_the_largest_logits_stay_within_the_budget(
    answering, clips, questions, answers, monkeypatch
):
    one = 3 * 5 * 29 * 4  # bytes of one candidate a question
    monkeypatch.setattr(answering_module, "LOGITS_BUDGET_BYTES", 2 * one)
    sizes = []
    hook = answering.text_decoder.register_forward_hook(
        lambda module, inputs, logits: sizes.append(logits.numel() * 4)
    )
    answering.rank_answers(clips, *questions, *answers, 7)
    hook.remove()
    assert len(sizes) == 1 + 4  # the first tokens, then 7 candidates in twos
    assert max(sizes) == 2 * one


def test_questions_in_a_batch_equal_single_questions(answering, clips, questions, answers):
    batch = answering.rank_answers(clips, *questions, *answers, 4)
    for i in range(3):
        one = slice(i, i + 1)
        single = answering.rank_answers(
            clips[one], questions[0][one], questions[1][one], *answers, 4
        )
        assert torch.equal(single.ids[0], batch.ids[i])
        assert_close(single.probabilities[0], batch.probabilities[i], rtol=1e-5, atol=1e-6)


def test_one_clip_serves_many_questions(answering, clips, questions, answers):
    shared = answering.rank_answers(clips[:1], *questions, *answers, 4)
    repeated = answering.rank_answers(clips[:1].repeat(3, 1, 1, 1, 1), *questions, *answers, 4)
    assert torch.equal(shared.ids, repeated.ids)
    assert_close(shared.probabilities, repeated.probabilities, rtol=1e-5, atol=1e-6)


def test_of_answers_with_equal_first_tokens_the_earlier_are_ranked(
    answering, clips, questions, answers
):
    ids, mask = (part[:1].repeat(4, 1) for part in answers)
    ranked = answering.rank_answers(clips, *questions, ids, mask, 2)
    assert ranked.ids.sort(dim=1).values.tolist() == [[0, 1]] * 3
    assert_close(ranked.probabilities, torch.full((3, 2), 0.5))


def test_probabilities_sum_to_one_and_fall(answering, clips, questions, answers):
    probabilities = answering.rank_answers(clips, *questions, *answers, 5).probabilities
    assert_close(probabilities.sum(1), torch.ones(3))
    assert (probabilities.diff(dim=1) <= 0).all()


def test_ranking_keeps_no_graph(answering, clips, questions, answers):
    with torch.enable_grad():
        ranked = answering.rank_answers(clips, *questions, *answers, 2)
    assert not ranked.probabilities.requires_grad


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_finite(answering, clips, questions, answers, dtype):
    model = UMTAnswering(TINY).to(dtype).eval()
    model.load_state_dict(answering.state_dict())
    ranked = model.rank_answers(clips, *questions, *answers, 7)
    assert ranked.probabilities.dtype == torch.float32
    assert ranked.probabilities.isfinite().all()


def test_attention_is_fused_in_the_decoder_too(answering, clips, questions, answers, count_calls):
    with count_calls() as calls:
        answering.rank_answers(clips, *questions, *answers, 4)
    vision, question, decoder = 2, 3 + 2, 2 * (2 + 2)
    assert calls.counts["scaled_dot_product_attention"] == vision + question + decoder


@pytest.mark.parametrize("k", [0, 8, -1])
def test_a_k_out_of_range_is_refused(answering, clips, questions, answers, k):
    with pytest.raises(ValueError, match=rf"k must be in \[1, 7\] .*got {k}\. Lower k"):
        answering.rank_answers(clips, *questions, *answers, k)


def test_numbers_of_clips_and_questions_must_fit(answering, clips, questions, answers):
    with pytest.raises(ValueError, match=r"one clip a question \(3\) or one for all, got 2"):
        answering.rank_answers(clips[:2], *questions, *answers, 2)
