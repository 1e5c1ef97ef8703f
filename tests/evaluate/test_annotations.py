import json

import pytest

from vidtldr.evaluate.annotations import (
    Choice,
    Question,
    group_by_video,
    read_answers,
    read_choices,
    read_questions,
    read_retrieval,
)
from vidtldr.evaluate.protocols import RETRIEVAL


@pytest.fixture
def write(tmp_path):
    def to_file(entries):
        path = tmp_path / "a.json"
        path.write_text("[\n" + ",\n".join(map(json.dumps, entries)) + "\n]\n")
        return path

    return to_file


def refused(read, line, message):
    with pytest.raises(ValueError, match="line") as caught:
        read()
    assert f"a.json, line {line}: " in str(caught.value)
    assert message in str(caught.value)


def test_one_caption_a_video(write):
    path = write([{"video": "a.mp4", "caption": "A"}, {"video": "b", "caption": "B", "id": 3}])
    found = read_retrieval(path, RETRIEVAL["msrvtt"])
    assert found.videos == ("a.mp4", "b")
    assert found.texts == ("A", "B")
    assert found.videos_of_text == ((0,), (1,))
    assert found.texts_of_video == ((0,), (1,))


def test_several_captions_are_queries_of_their_own(write):
    path = write(
        [{"video": "a", "caption": ["A", "B"]}, {"video": "b", "caption": ["C", "B", "D"]}]
    )
    found = read_retrieval(path, RETRIEVAL["msvd"])
    assert found.texts == ("A", "B", "C", "B", "D")
    assert found.videos_of_text == ((0,), (0,), (1,), (1,), (1,))
    assert found.texts_of_video == ((0, 1), (2, 3, 4))


@pytest.mark.parametrize("name", ["anet", "didemo"])
def test_parts_of_a_paragraph_are_one_text(write, name):
    entries = [{"video": "a", "caption": ["A.", "", "B"]}, {"video": "b", "caption": "C"}]
    found = read_retrieval(write(entries), RETRIEVAL[name])
    assert found.texts == ("A.  B", "C")
    assert found.texts_of_video == ((0,), (1,))


@pytest.mark.parametrize("name", ["ssv2-label", "ssv2-template"])
def test_a_caption_may_have_many_videos(write, name):
    entries = [
        {"caption": "A", "video": ["1.webm", "2.webm"]},
        {"caption": "B", "video": "3.webm"},
        {"caption": "A", "video": ["4.webm"]},
    ]
    found = read_retrieval(write(entries), RETRIEVAL[name])
    assert found.videos == ("1.webm", "2.webm", "3.webm", "4.webm")
    assert found.texts == ("A", "B", "A")
    assert found.videos_of_text == ((0, 1), (2,), (3,))
    assert found.texts_of_video == ((0,), (0,), (1,), (2,))


GOOD = {"video": "a.mp4", "caption": "A"}


@pytest.mark.parametrize(
    ("name", "entry", "message"),
    [
        ("msrvtt", "a.mp4", "the entry must be an object, got 'a.mp4'"),
        ("msrvtt", {"caption": "B"}, "the entry must have 'video', got ['caption']"),
        ("msrvtt", {"video": "b"}, "the entry must have 'caption'"),
        ("msrvtt", {"video": 7, "caption": "B"}, "video must be a string, got 7"),
        ("msrvtt", {"video": ["b"], "caption": "B"}, "video must be a string, got ['b']"),
        ("msrvtt", {"video": "b", "caption": 7}, "caption must be a string or a list"),
        ("msrvtt", {"video": "b", "caption": []}, "caption must be a string or a list"),
        ("msrvtt", {"video": "b", "caption": ["B", None]}, "caption must be a string, got None"),
        ("msrvtt", {"video": "b", "caption": " "}, "caption must not be empty"),
        ("anet", {"video": "b", "caption": ["", " "]}, "caption must not be empty"),
        ("ssv2-label", {"video": [], "caption": "B"}, "video must be a string or a list"),
        ("ssv2-label", {"video": "b", "caption": ["B"]}, "caption must be a string, got ['B']"),
        ("msrvtt", {"video": "a.mp4", "caption": "B"}, "come once (first on line 2), got 'a.mp4'"),
        ("ssv2-label", {"video": ["b", "a.mp4"], "caption": "B"}, "first on line 2"),
        ("ssv2-label", {"video": ["b", "b"], "caption": "B"}, "first on line 3"),
        ("msrvtt", {"video": "/etc/passwd", "caption": "B"}, "inside the directory of videos"),
        ("msrvtt", {"video": "x/../../y", "caption": "B"}, "inside the directory of videos"),
        ("msrvtt", {"video": "~/y", "caption": "B"}, "inside the directory of videos"),
        ("msrvtt", {"video": "a\0b", "caption": "B"}, "inside the directory of videos"),
        ("msrvtt", {"video": "b\ud800", "caption": "B"}, "video must be valid Unicode"),
    ],
)
def test_a_wrong_entry_is_refused_with_its_line(write, name, entry, message):
    path = write([GOOD, entry])
    refused(lambda: read_retrieval(path, RETRIEVAL[name]), 3, message)


def test_questions(write):
    entries = [
        {"video": "a", "question": "What?", "answer": "dog", "question_id": 17},
        {"video": "b", "question": "Who?", "answer": "cat", "question_id": "q"},
        {"video": "a", "question": "Where?", "answer": "x", "question_id": 4, "more": None},
    ]
    found = read_questions(write(entries))
    assert found == (
        Question(17, "a", "What?", "dog"),
        Question("q", "b", "Who?", "cat"),
        Question(4, "a", "Where?", "x"),
    )
    assert group_by_video(found) == {"a": [0, 2], "b": [1]}


def test_questions_without_ids_are_counted(write):
    entries = [{"video": "a", "question": "What?", "answer": "dog"}] * 2
    assert [question.id for question in read_questions(write(entries))] == [0, 1]


ASKED = {"video": "a", "question": "What?", "answer": "dog", "question_id": 1}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"question_id": 1}, "question_id must come once (first on line 2), got 1"),
        ({"question_id": True}, "question_id must be a number or a string, got True"),
        ({"question_id": [1]}, "question_id must be a number or a string, got [1]"),
        ({"question_id": 2, "answer": ["dog", "cat"]}, "answer must be a string"),
        ({"question_id": 2, "question": ""}, "question must not be empty"),
        ({"question_id": 2, "video": None}, "video must be a string"),
    ],
)
def test_a_wrong_question_is_refused_with_its_line(write, change, message):
    path = write([ASKED, {**ASKED, **change}])
    refused(lambda: read_questions(path), 3, message)


def test_answers_keep_their_order_and_letters(write):
    assert read_answers(write(["dog", "A Cat", "1"])) == ("dog", "A Cat", "1")


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ("dog", "an answer must come once (first on line 2), got 'dog'"),
        ("", "an answer must be a string that is not empty, got ''"),
        (3, "an answer must be a string that is not empty, got 3"),
        ({"dog": 1}, "an answer must be a string that is not empty"),
    ],
)
def test_a_wrong_answer_is_refused_with_its_line(write, answer, message):
    path = write(["dog", "cat", answer])
    refused(lambda: read_answers(path), 4, message)


PICK = {"video": "a", "caption": ["A", "B", "C", "D", "E"], "answer": 4}


def test_choices(write):
    assert read_choices(write([PICK, PICK])) == (Choice("a", tuple("ABCDE"), 4),) * 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"caption": ["A", "B"]}, "caption must be 5 texts"),
        ({"caption": "A"}, "caption must be 5 texts"),
        ({"answer": 5}, "answer must be in [0, 5), got 5"),
        ({"answer": -1}, "answer must be in [0, 5), got -1"),
        ({"answer": "2"}, "answer must be the index of a caption, got '2'"),
        ({"answer": True}, "answer must be the index of a caption, got True"),
    ],
)
def test_a_wrong_choice_is_refused_with_its_line(write, change, message):
    path = write([PICK, {**PICK, **change}])
    refused(lambda: read_choices(path), 3, message)


def test_a_missing_file_is_an_os_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_answers(tmp_path / "none.json")
