import pytest

from vidtldr.evaluate.protocols import (
    ANSWERING,
    MULTIPLE_CHOICE,
    RETRIEVAL,
    RetrievalProtocol,
    retrieval_protocol,
)
from vidtldr.presets import PRESETS


@pytest.mark.parametrize(
    ("name", "max_text_tokens", "flags"),
    [
        ("msrvtt", 32, {}),
        ("msvd", 64, {}),
        ("anet", 150, {"is_paragraph": True}),
        ("didemo", 64, {"is_paragraph": True, "max_seconds": 30.0}),
        ("lsmdc", 96, {}),
        ("ssv2-label", 25, {"has_many_videos": True}),
        ("ssv2-template", 25, {"has_many_videos": True}),
    ],
)
def test_the_seven_sets_are_the_papers(name, max_text_tokens, flags):
    assert retrieval_protocol(name) == RetrievalProtocol(name, max_text_tokens, **flags)
    assert retrieval_protocol(name).k_test == 128


def test_every_set_has_its_presets():
    for name in RETRIEVAL:
        assert f"umt-b16/{name}-retrieval" in PRESETS
        assert f"umt-l16/{name}-retrieval" in PRESETS


def test_questions_and_choices_are_the_papers():
    assert (ANSWERING.max_question_tokens, ANSWERING.max_answer_tokens) == (25, 5)
    assert ANSWERING.k_test == 128
    assert MULTIPLE_CHOICE.num_captions == 5
    assert (MULTIPLE_CHOICE.match_weight, MULTIPLE_CHOICE.cosine_weight) == (0.7, 0.3)


def test_an_unknown_set_is_refused():
    with pytest.raises(ValueError, match=r"`protocol` must be one of msrvtt, msvd, .*got 'vatex'"):
        retrieval_protocol("vatex")
