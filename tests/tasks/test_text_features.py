import pytest
import torch
from torch.testing import assert_close

from vidtldr.models.umt.vision import VideoTokens
from vidtldr.tasks.text_features import encode_texts, match_scores, prompt_tokens

TEXTS = ["dog", "the red dog runs in the street", "cat on the street", "a", "dog"]


@pytest.fixture(scope="module")
def padded(retrieval):
    """What the model says of the texts with all their padding."""
    tokens = retrieval.tokenizer(TEXTS, 20)
    with torch.no_grad():
        return tokens, retrieval.encode_text(*tokens)


@pytest.mark.parametrize("batch_size", [1, 2, 64])
def test_texts_without_padding_are_those_with_it(retrieval, padded, batch_size):
    tokens, text = padded
    steps = []
    texts = encode_texts(retrieval, tokens, batch_size=batch_size, on_step=lambda: steps.append(1))
    assert len(texts) == len(TEXTS) == len(steps)
    assert_close(texts.row_embeddings[texts.rows], retrieval.embed_text(text).detach())
    assert texts.rows[0] == texts.rows[4]
    assert len(texts.row_ends) == 5
    x, mask = texts.select(range(len(TEXTS)), torch.device("cpu"))
    assert torch.equal(mask, tokens.attention_mask[:, : mask.shape[1]])
    real = mask.bool()
    assert_close(x[real], text.tokens[:, : mask.shape[1]][real])


@pytest.mark.parametrize("batch_size", [1, 2, 64])
def test_match_scores_are_the_models_own_in_the_order_asked(retrieval, padded, batch_size):
    tokens, text = padded
    video = VideoTokens(torch.randn(50, 24), 1 + 9 * torch.rand(50))
    texts = encode_texts(retrieval, tokens)
    asked = [3, 1, 4, 0]
    scores = match_scores(retrieval, video, texts, asked, batch_size=batch_size)
    with torch.no_grad():
        expected = retrieval.rerank_scores(
            video.x[None], text.tokens[asked], tokens.attention_mask[asked], video.mass[None]
        )
    assert_close(scores, expected)


def test_no_pairs_are_no_scores(retrieval, padded):
    texts = encode_texts(retrieval, padded[0])
    assert match_scores(retrieval, VideoTokens(torch.randn(50, 24)), texts, []).shape == (0,)


def test_a_prompt_is_cleaned_and_padded_to_the_longest(retrieval):
    tokens = prompt_tokens(retrieval.tokenizer, ["Dog!", "The RED-dog"], "text")
    assert torch.equal(tokens.input_ids, retrieval.tokenizer(["dog", "the red dog"], 5).input_ids)


@pytest.mark.parametrize("prompt", ["", "  ", "?!"])
def test_a_prompt_without_a_word_is_refused(retrieval, prompt):
    with pytest.raises(ValueError, match="labels must have a word in it, got"):
        prompt_tokens(retrieval.tokenizer, ["dog", prompt], "labels")


def test_a_prompt_that_is_too_long_is_refused_and_not_cut(retrieval):
    prompt_tokens(retrieval.tokenizer, ["dog " * 62], "text")
    with pytest.raises(ValueError, match="text must have at most 64 tokens, got 65 in 'dog"):
        prompt_tokens(retrieval.tokenizer, ["dog " * 63], "text")
