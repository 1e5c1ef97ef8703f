import pytest
import torch

from vidtldr.config import MergeConfig
from vidtldr.tasks.ask import answer_tokens, ask_video
from vidtldr.tasks.clip_reader import umt_reader

ANSWERS = ["dog", "cat", "red", "the street", "1", "on"]


@pytest.mark.parametrize("k", [3, 128])
def test_answers_are_ranked_as_the_model_ranks_them(answering, videos, encoding_of, k):
    merge = MergeConfig(r=[20])
    path = videos.paths[0]
    asked = ask_video(encoding_of(answering, merge), path, "What is in the street?", ANSWERS, k=k)
    import vidtldr

    pixels = umt_reader(answering.config)(path).values[None]
    question = answering.tokenizer(["what is in the street"], 25)
    answers = answering.tokenizer([f"{answer} [SEP]" for answer in ANSWERS], 5)
    with vidtldr.patched(answering, merge):
        ranked = answering.rank_answers(pixels, *question, *answers, min(k, len(ANSWERS)))
    assert [each.answer for each in asked.answers] == [ANSWERS[i] for i in ranked.ids[0]]
    torch.testing.assert_close(
        torch.tensor([each.probability for each in asked.answers]), ranked.probabilities[0]
    )
    assert asked.error is None


def test_only_the_top_is_returned(answering, films, encoding_of):
    asked = ask_video(encoding_of(answering), films.paths[0], "what", ANSWERS, top=2)
    every = ask_video(encoding_of(answering), films.paths[0], "what", ANSWERS)
    assert len(every.answers) == len(ANSWERS)
    assert asked.answers == every.answers[:2]


def test_a_broken_video_is_said(answering, videos, encoding_of):
    path = str(videos.directory / videos.broken)
    asked = ask_video(encoding_of(answering), path, "what", ANSWERS)
    assert asked.answers == ()
    assert "cannot be read: FFmpeg" in asked.error


@pytest.mark.parametrize(
    ("question", "answers", "numbers", "message"),
    [
        ("", ANSWERS, {}, "question must have a word in it"),
        ("dog " * 70, ANSWERS, {}, "question must have at most 64 tokens, got 72"),
        ("what", [], {}, "answers must be texts that are not empty, got 0 of them"),
        ("what", ["dog", " "], {}, "got 2 of them, one without text"),
        ("what", ANSWERS, {"k": 0}, "k must be at least 1, got 0"),
        ("what", ANSWERS, {"top": 0}, "top must be at least 1, got 0"),
    ],
)
def test_what_cannot_be_asked_is_refused(
    answering, films, encoding_of, question, answers, numbers, message
):
    with pytest.raises(ValueError, match=message):
        ask_video(encoding_of(answering), films.paths[0], question, answers, **numbers)


def test_a_model_that_searches_cannot_answer(retrieval, films, encoding_of):
    with pytest.raises(TypeError, match="model must be a UMTAnswering, got UMTRetrieval"):
        ask_video(encoding_of(retrieval), films.paths[0], "what", ANSWERS)


def test_answers_end_twice_and_are_cut(answering):
    tokens = answer_tokens(answering, ["dog", "the red cat on"], 5)
    words = answering.tokenizer.load().convert_ids_to_tokens
    assert words(tokens.input_ids[0].tolist()) == ["[CLS]", "dog", "[SEP]", "[SEP]", "[PAD]"]
    assert words(tokens.input_ids[1].tolist()) == ["[CLS]", "the", "red", "cat", "[SEP]"]


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_a_model_of_dynamic_int8_answers_too(answering, films, encoding_of):
    quantized = torch.ao.quantization.quantize_dynamic(answering, {torch.nn.Linear})
    asked = ask_video(encoding_of(quantized, MergeConfig(r=[20])), films.paths[0], "what", ANSWERS)
    assert asked.error is None
    assert len(asked.answers) == len(ANSWERS)
