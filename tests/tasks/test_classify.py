from pathlib import Path

import pytest
import torch
from support.tiny_models import clips, videomae

from vidtldr.tasks.classify import classify_pixels, parse_labels, top_labels


def test_probabilities_are_the_softmax_of_the_logits() -> None:
    model = videomae()
    with torch.no_grad():
        expected = model(pixel_values=clips(3)).logits.softmax(-1)
    assert torch.allclose(classify_pixels(model, clips(3)), expected, atol=1e-6)


def test_logits_that_are_not_finite_are_an_error() -> None:
    model = videomae()
    model.classifier.bias.data[0] = float("inf")
    with pytest.raises(FloatingPointError, match="the model's logits must be finite"):
        classify_pixels(model, clips(1))


def test_the_likeliest_labels_come_first() -> None:
    answers = top_labels(torch.tensor([0.1, 0.6, 0.3]), ["a", "b", "c"], 2)
    assert [(a.label, round(a.probability, 3)) for a in answers] == [("b", 0.6), ("c", 0.3)]
    assert len(top_labels(torch.tensor([0.1, 0.6, 0.3]), ["a", "b", "c"], 9)) == 3
    with pytest.raises(ValueError, match="top must be at least 1, got 0"):
        top_labels(torch.tensor([1.0]), ["a"], 0)


def test_a_label_may_hold_any_character_but_the_end_of_a_line(tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("a\u2028b\r\nc\x0bd\n", encoding="utf-8", newline="")
    assert parse_labels(str(tmp_path / "labels.txt")) == ("a\u2028b", "c\x0bd")


def test_labels_with_ids_must_be_in_their_order(tmp_path: Path) -> None:
    file = tmp_path / "labels.csv"
    file.write_text('id,name\r\n0,arm wrestling\r\n1,"putting x, then y"\r\n\r\n2, yoga\r\n')
    assert parse_labels(str(file)) == ("arm wrestling", "putting x, then y", "yoga")
    for wrong in ("1,yoga", "0,a\n2,b", "0,a,b", "0,a\nb"):
        file.write_text(f"id,name\n{wrong}\n")
        with pytest.raises(ValueError, match=r"labels must have the id \d and a name in .*line \d"):
            parse_labels(str(file))


def test_labels_come_from_a_file_or_a_comma_list(tmp_path: Path) -> None:
    lines, listed = tmp_path / "labels.txt", tmp_path / "labels.json"
    lines.write_text("arm wrestling\n\n  yoga \n")
    listed.write_text('["arm wrestling", "yoga"]')
    for text in (str(lines), str(listed), "arm wrestling, yoga"):
        assert parse_labels(text) == ("arm wrestling", "yoga")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('["a",\n "b"', "line 2"),
        ('["a", 3]', "labels must be a JSON list of strings"),
        ("[]", "labels must be names that are not empty"),
        ("", "labels must be names that are not empty"),
        ('{"0": "a",\n "1": "b"}', "labels must be a JSON list of strings"),
        ("yoga", "labels must be two or more, got a file with 'yoga' alone"),
        ("[" * 100_000, "that is no JSON"),
    ],
)
def test_a_label_file_that_is_none_is_refused(tmp_path: Path, content: str, message: str) -> None:
    file = tmp_path / "labels"
    file.write_text(content)
    with pytest.raises(ValueError, match=message):
        parse_labels(str(file))


def test_a_long_list_and_a_byte_order_mark_are_no_trouble(tmp_path: Path) -> None:
    names = tuple(f"a class of a rather long name {i}" for i in range(400))
    assert parse_labels(",".join(names)) == names
    file = tmp_path / "labels"
    file.write_bytes(b"\xef\xbb\xbfyoga\r\ngolf\r\n")
    assert parse_labels(str(file)) == ("yoga", "golf")
    file.write_bytes(b"\xff\xfe\x00y")
    with pytest.raises(ValueError, match="labels must be UTF-8 text"):
        parse_labels(str(file))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("lables.txt", "labels must be names or a file that exists, got 'lables.txt'"),
        ("yoga,golf.json", "labels must be names or a file that exists, got 'yoga,golf.json'"),
        ("lists/labels", "labels must be two or more, got 'lists/labels' alone, which is no file"),
        ("yoga", "labels must be two or more, got 'yoga' alone, which is no file"),
    ],
)
def test_a_mistyped_file_never_becomes_the_only_label(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_labels(text)
