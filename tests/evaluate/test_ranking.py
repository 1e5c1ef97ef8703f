import pytest
import torch
from torch.testing import assert_close

from vidtldr.evaluate.annotations import RetrievalSet
from vidtldr.evaluate.ranking import Scores, dual_scores, measure, rerank
from vidtldr.models.umt.vision import VideoTokens
from vidtldr.tasks.text_features import encode_texts

CAPTIONS = ["a dog runs", "cat", "the red street", "on the street a person runs", "dog", "in red"]


@pytest.fixture(scope="module")
def texts(retrieval):
    return encode_texts(retrieval, retrieval.tokenizer(CAPTIONS, 16))


@pytest.fixture(scope="module")
def tokens():
    """Four videos with different numbers of tokens, two of them with mass."""
    generator = torch.Generator().manual_seed(5)
    x = [torch.randn(n, 24, generator=generator) for n in (9, 12, 30, 9)]
    masses = [None, 1 + 9 * torch.rand(12, generator=generator), None, torch.full((9,), 7.0)]
    return [VideoTokens(*each) for each in zip(x, masses, strict=True)]


@pytest.fixture(scope="module")
def embeddings():
    return torch.nn.functional.normalize(
        torch.randn(4, 12, generator=torch.Generator().manual_seed(6)), dim=-1
    )


def test_dual_scores_are_cosines_and_a_failed_video_has_none(texts, embeddings):
    scores = dual_scores([embeddings[0], None, embeddings[2]], texts)
    assert_close(scores.video_to_text[0], texts.row_embeddings[texts.rows] @ embeddings[0])
    assert_close(scores.video_to_text[2], texts.row_embeddings[texts.rows] @ embeddings[2])
    assert (scores.video_to_text[1] == -torch.inf).all()
    assert torch.equal(scores.text_to_video, scores.video_to_text.T)


def test_all_videos_failed(texts):
    assert (dual_scores([None, None], texts).text_to_video == -torch.inf).all()


def oracle(model, tokens, dual, k, failed):
    """Query by query, pair by pair, with all the padding."""
    ids, mask = model.tokenizer(CAPTIONS, 16)
    with torch.no_grad():
        text = model.encode_text(ids, mask)
    results = []
    for scores, video_first in ((dual.video_to_text, True), (dual.text_to_video, False)):
        result = torch.full(scores.shape, -100.0)
        for query, row in enumerate(scores):
            ranked = sorted(range(len(row)), key=lambda c: -row[c].item())[:k]
            for candidate in ranked:
                v, t = (query, candidate) if video_first else (candidate, query)
                if v not in failed:
                    with torch.no_grad():
                        video = VideoTokens.stack([tokens[v]])
                        score = model.rerank_scores(
                            video.x, text.tokens[t : t + 1], mask[t : t + 1], video.mass
                        )
                    result[query, candidate] = score
        for v in failed:
            result[(v,) if video_first else (slice(None), v)] = -torch.inf
        results.append(result)
    return Scores(*results)


@pytest.mark.parametrize("k", [1, 2, 5, 128])
@pytest.mark.parametrize("failed", [[], [1], [0, 3]])
@pytest.mark.parametrize("batch_size", [1, 4])
def test_reranking_equals_the_slow_one(retrieval, texts, tokens, embeddings, k, failed, batch_size):
    videos = [None if v in failed else embeddings[v] for v in range(4)]
    dual = dual_scores(videos, texts)
    steps = []

    def tokens_of(video):
        assert video not in failed
        return tokens[video]

    scores = rerank(
        retrieval, tokens_of, texts, dual, k, batch_size=batch_size, on_step=lambda: steps.append(1)
    )
    expected = oracle(retrieval, tokens, dual, k, failed)
    assert_close(scores.video_to_text, expected.video_to_text, rtol=1e-4, atol=1e-5)
    assert_close(scores.text_to_video, expected.text_to_video, rtol=1e-4, atol=1e-5)
    assert len(steps) == 4 - len(failed)


def test_a_pair_that_both_sides_ask_for_is_computed_once(
    retrieval, texts, tokens, embeddings, monkeypatch
):
    asked = []
    own = type(retrieval).rerank_scores

    def counting(self, video, text, mask, mass):
        asked.append(len(text))
        return own(self, video, text, mask, mass)

    monkeypatch.setattr(type(retrieval), "rerank_scores", counting)
    rerank(retrieval, tokens.__getitem__, texts, dual_scores(list(embeddings), texts), 128)
    assert sum(asked) == 4 * len(CAPTIONS)


def test_equal_texts_have_equal_scores_and_cost_once(retrieval, tokens, embeddings, monkeypatch):
    captions = [*CAPTIONS, *reversed(CAPTIONS)]
    texts = encode_texts(retrieval, retrieval.tokenizer(captions, 16))
    asked = []
    own = type(retrieval).rerank_scores

    def counting(self, video, text, mask, mass):
        asked.append(len(text))
        return own(self, video, text, mask, mass)

    monkeypatch.setattr(type(retrieval), "rerank_scores", counting)
    dual = dual_scores(list(embeddings), texts)
    reranked = rerank(retrieval, tokens.__getitem__, texts, dual, 128, batch_size=4)
    for scores in (dual, reranked):
        assert torch.equal(scores.video_to_text, scores.video_to_text.flip(1))
        assert torch.equal(scores.text_to_video, scores.text_to_video.flip(0))
    assert sum(asked) == 4 * len(CAPTIONS)


def test_equal_scores_keep_the_order_of_candidates(retrieval, texts, tokens):
    same = torch.ones(4, len(CAPTIONS))
    scores = rerank(retrieval, tokens.__getitem__, texts, Scores(same, same.T), 2)
    assert (scores.video_to_text != -100).nonzero().tolist() == [
        [v, t] for v in range(4) for t in (0, 1)
    ]
    assert (scores.text_to_video != -100).nonzero().tolist() == [
        [t, v] for t in range(len(CAPTIONS)) for v in (0, 1)
    ]


def test_a_failed_video_misses_in_both_directions():
    retrieval_set = RetrievalSet(
        ("a", "b"), ("x", "y", "z"), ((0,), (1,), (0, 1)), ((0, 2), (1, 2))
    )
    scores = torch.tensor([[-torch.inf] * 3, [0.1, 0.9, 0.5]])
    found = measure(Scores(scores, scores.T), retrieval_set)
    assert found.video_to_text.r10 == 50
    assert found.video_to_text.num_lost == 1
    assert found.text_to_video.num_lost == 1  # z still has b
    assert found.text_to_video.r1 == pytest.approx(200 / 3)
