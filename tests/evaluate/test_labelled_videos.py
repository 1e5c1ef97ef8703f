import json
import re
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vidtldr.evaluate.labelled_videos import (
    LabelledVideo,
    read_labelled_videos,
    resolve_labels,
)

LABELS = ("riding a bike", "yoga", "clap", "5")


def read(path: Path, text: str, name: str = "list.txt") -> tuple[LabelledVideo, ...]:
    (path / name).write_text(text, encoding="utf-8", newline="")
    return read_labelled_videos(path / name)


def pairs(found: tuple[LabelledVideo, ...]) -> list[tuple[str, str | int]]:
    return [(each.video, each.label) for each in found]


@pytest.mark.parametrize(
    ("line", "video", "label"),
    [
        ("val/a.mp4 3", "val/a.mp4", "3"),
        ("a.mp4  3", "a.mp4", "3"),
        ("a.mp4\t3", "a.mp4", "3"),
        ("a.mp4,3", "a.mp4", "3"),
        ("a.mp4, 3 ", "a.mp4", "3"),
        ("a b.mp4 12", "a b.mp4", "12"),
        ("a,b.mp4,12", "a,b.mp4", "12"),
        ("a.mp4 riding a bike", "a.mp4", "riding a bike"),
        ("a.MP4,riding a bike", "a.MP4", "riding a bike"),
        ("my clip 2.webm clap", "my clip 2.webm", "clap"),
        ("a.mp4,putting x, then y", "a.mp4", "putting x, then y"),
        ("a.mp4 b.mp4 3", "a.mp4 b.mp4", "3"),
        ("74225 102", "74225", "102"),
        ("a b c 102", "a b c", "102"),
        ("74225 clap", "74225", "clap"),
        ("74225,riding a bike", "74225", "riding a bike"),
        ("a clip\triding a bike", "a clip", "riding a bike"),
        ('"a b" clap', "a b", "clap"),
        ('"a ""b"" c", "riding a bike"', 'a "b" c', "riding a bike"),
        ("#7 [x]!.avi 0", "#7 [x]!.avi", "0"),
        ("[a].mp4 0", "[a].mp4", "0"),
        ("-a.mp4 0", "-a.mp4", "0"),
        ("a\x0bb\u2028.mp4 0", "a\x0bb\u2028.mp4", "0"),
        ("\u00fcber/\u4f60.mp4 0", "\u00fcber/\u4f60.mp4", "0"),
    ],
)
def test_a_line_parts_at_its_one_clear_border(
    tmp_path: Path, line: str, video: str, label: str
) -> None:
    for ending in ("\n", "\r\n"):
        found = read(tmp_path, f"\ufeff{ending}{line}{ending}\t{ending}zz.mp4 1{ending}")
        assert pairs(found) == [(video, label), ("zz.mp4", "1")]
        assert [each.entry.line for each in found] == [2, 4]


@pytest.mark.parametrize(
    "line", ["a b clap", "a bc,clap", "a.mp4 b.mp4 clap", "a.mp4", "a.mp4,", "a,b,clap"]
)
def test_a_line_that_may_be_parted_in_several_ways_is_refused(tmp_path: Path, line: str) -> None:
    with pytest.raises(ValueError, match="line 2: the line must be a video and a label") as caught:
        read(tmp_path, f"a 1\n{line}\n")
    assert str(caught.value).startswith(f"{tmp_path / 'list.txt'}, ")
    assert "Write a CSV file with the header video,label" in str(caught.value)


@given(
    st.text("ab ,\t\"'[].mp4\u00fc", min_size=1, max_size=12).map(str.strip),
    st.integers(0, 999),
)
def test_whatever_parts_is_parted_without_a_loss(name: str, label: int) -> None:
    from vidtldr.evaluate.labelled_videos import _split

    line = f"{name} {label}".strip()
    parted = _split(line)
    if parted is not None and '"' not in line:
        video, found = parted
        assert line.startswith(video)
        assert line.endswith(found)
        assert set(line[len(video) : len(line) - len(found)]) <= set(" ,\t")


def test_csv_has_its_columns_in_any_order(tmp_path: Path) -> None:
    text = 'id,Label,video\n1,"putting x, then y",a b.mp4\n\n2,7,"c,""d"".mp4"\n'
    found = read(tmp_path, text)
    assert pairs(found) == [("a b.mp4", "putting x, then y"), ('c,"d".mp4', "7")]
    assert [each.entry.line for each in found] == [2, 4]
    assert pairs(read(tmp_path, "path\tlabel\na b\tclap, twice\n")) == [("a b", "clap, twice")]


def test_kinetics_and_ssv2_are_read_as_they_are_published(tmp_path: Path) -> None:
    header = "label,youtube_id,time_start,time_end,split\n"
    found = read(tmp_path, f"{header}riding a bike,-0wR5jVB-WPk,417,427,validate\n")
    assert pairs(found) == [("-0wR5jVB-WPk_000417_000427", "riding a bike")]
    entries = [
        {"id": "74225", "label": "spinning cube", "template": "Spinning [something] that stops"}
    ]
    found = read(tmp_path, json.dumps(entries), "ssv2.json")
    assert pairs(found) == [("74225", "Spinning something that stops")]


def test_json_tells_an_index_from_a_name(tmp_path: Path) -> None:
    entries = [{"video": "a", "label": "5"}, {"video": "b", "label": 1, "more": None}]
    for name in ("list.json", "list.txt"):
        found = read(tmp_path, json.dumps(entries), name)
        assert pairs(found) == [("a", "5"), ("b", 1)]
        assert resolve_labels(found, LABELS) == [3, 1]


@pytest.mark.parametrize(
    ("name", "text", "line", "message"),
    [
        ("a.txt", "", 1, "the file must have a video"),
        ("a.txt", " \n\r\n\t\n", 1, "the file must have a video"),
        ("a.csv", "video,label\n", 1, "the file must have a video"),
        ("a.txt", ",3", 1, "video must not be empty"),
        ("a.json", "[]", 1, "the list must have entries"),
        ("a.json", '{"a": 1}', 1, "the file must be one JSON list"),
        ("a.txt", "x.mp4 1\ny.mp4 2\nx.mp4 1", 3, "a video must come once (first on line 1)"),
        ("a.txt", "x/y.mp4 1\n./x//y.mp4 1", 2, "a video must come once (first on line 1)"),
        ("a.csv", 'video,label\n"x\ny",1\nz,2\n"x\ny",1\n', 5, "come once (first on line 2)"),
        ("a.json", '[{"video": "x", "label": 1},\n{"video": "x", "label": 1}]', 2, "come once"),
        ("a.txt", "x.mp4 1\n/etc/passwd 1", 2, "video must be a path inside the directory"),
        ("a.txt", "x.mp4 1\n../x.mp4 1", 2, "video must be a path inside the directory"),
        ("a.txt", "~/x.mp4 1", 1, "video must be a path inside the directory"),
        ("a.txt", "x\0.mp4 1", 1, "video must be a path inside the directory"),
        ("a.csv", "video,label\n\nx/../../y,1", 3, "video must be a path inside the directory"),
        ("a.csv", "video,label,Label\nx,1,2\n", 1, "the header must name every column once"),
        ("a.csv", "video,label\nx,1,2\n", 2, "the line must have 2 columns as the header"),
        ("a.csv", "video,label\nx\n", 2, "the line must have 2 columns as the header"),
        ("a.csv", "video,label\nx,\n", 2, "label must not be empty"),
        ("a.csv", "video,label\n,1\n", 2, "video must not be empty"),
        ("a.csv", 'video,label\na,1\n"x" y,1\n', 3, "the file must be valid CSV"),
        ("a.csv", 'video,label\na,1\n"x,1\n', 3, "the file must be valid CSV"),
        ("a.csv", "label,youtube_id,time_start,time_end\nx,a,1.5,2", 2, "must be whole seconds"),
        ("a.json", '[{"video": "x"}]', 1, "the entry must have 'label'"),
        ("a.json", '[{"video": "x", "label": true}]', 1, "label must be a string or a whole"),
        ("a.json", '[{"video": "x", "label": 1.0}]', 1, "label must be a string or a whole"),
        ("a.json", '[{"video": "x", "label": ["a"]}]', 1, "label must be a string or a whole"),
        ("a.json", '[{"video": "x", "label": " "}]', 1, "label must not be empty"),
        ("a.json", '[{"video": 7, "label": 1}]', 1, "video must be a string, got 7"),
    ],
)
def test_what_is_wrong_is_refused_with_file_and_line(
    tmp_path: Path, name: str, text: str, line: int, message: str
) -> None:
    with pytest.raises(ValueError, match="line") as caught:
        read(tmp_path, text, name)
    assert f"{name}, line {line}: " in str(caught.value)
    assert message in str(caught.value)


def test_other_encodings_are_refused_with_their_line(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"x.mp4 1\n\xff.mp4 2\n")
    with pytest.raises(ValueError, match=r"a\.txt, line 2: the file must be UTF-8"):
        read_labelled_videos(tmp_path / "a.txt")


@given(
    st.text('video,label\n\r\t "[{}]:.mp4/~\0\x0b\u2028\ud800 1', max_size=60),
    st.sampled_from(["", "video,label\n", '[{"video": "a", "label": ']),
    st.sampled_from(["a.txt", "a.json"]),
)
def test_any_text_is_read_or_refused_in_one_line(text: str, start: str, name: str) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes((start + text).encode("utf-8", "surrogatepass"))
        try:
            videos = {each.video for each in read_labelled_videos(path)}
        except ValueError as error:
            said = str(error)
        else:
            said = "" if videos else "nothing"
        assert not said or re.search(r"a\.(txt|json), line \d+: .* must .*, got ", said, re.DOTALL)


def test_hostile_lines_take_no_time(tmp_path: Path) -> None:
    start = time.monotonic()
    spaces, quotes = " " * 50_000, '"' * 50_000
    for line in (f"a.mp4{spaces},,", f"a{spaces}, ,b", quotes, f'"{quotes}', f"a\t{spaces}\tb c"):
        with pytest.raises(ValueError, match="line 1"):
            read(tmp_path, f"{line}x\n")
    assert time.monotonic() - start < 5


def labels_of(tmp_path: Path, *labels: str) -> list[int]:
    lines = "".join(f"{number}.mp4 {label}\n" for number, label in enumerate(labels))
    return resolve_labels(read(tmp_path, lines), LABELS)


def test_labels_are_names_or_indices(tmp_path: Path) -> None:
    assert labels_of(tmp_path, "clap", "riding a bike", "5") == [2, 0, 3]
    assert labels_of(tmp_path, "2", "0", "3") == [2, 0, 3]
    assert labels_of(tmp_path, "5") == [3]


@pytest.mark.parametrize(
    ("labels", "line", "message"),
    [
        (["clap", "joga"], 2, "one of the model's 4 labels, got 'joga'. Did you mean 'yoga'?"),
        (["clap", "2"], 2, "label must be one of the model's 4 labels, got '2'. Correct it"),
        (["0", "4"], 2, "label must be an index in [0, 4) of the model's labels, got '4'"),
        (["Clap"], 1, "got 'Clap'. Did you mean 'clap'?"),
        (["9" * 5000], 1, "label must be one of the model's 4 labels"),
    ],
)
def test_labels_that_the_model_lacks_are_refused(
    tmp_path: Path, labels: list[str], line: int, message: str
) -> None:
    with pytest.raises(ValueError, match="line") as caught:
        labels_of(tmp_path, *labels)
    assert f"list.txt, line {line}: " in str(caught.value)
    assert message in str(caught.value)


def test_digits_that_are_a_name_and_another_index_are_refused(tmp_path: Path) -> None:
    found = read(tmp_path, "a.mp4 1\nb.mp4 0\n")
    assert resolve_labels(found, ("0", "1")) == [1, 0]
    with pytest.raises(ValueError, match="line 1: label must be the name of a class or an index"):
        resolve_labels(found, ("1", "0"))
    assert resolve_labels(read(tmp_path, "a.mp4 1\nb.mp4 7\n"), ("1", "7")) == [0, 1]


def test_a_name_of_two_classes_is_refused(tmp_path: Path) -> None:
    found = read(tmp_path, "a.mp4 x\n")
    with pytest.raises(ValueError, match=r"line 1: label must name one class \(it names 0, 2\)"):
        resolve_labels(found, ("x", "y", "x"))
    assert resolve_labels(read(tmp_path, "a.mp4 2\n"), ("x", "y", "x")) == [2]


def test_an_index_in_json_is_checked(tmp_path: Path) -> None:
    found = read(tmp_path, '[{"video": "a", "label": -1}]', "a.json")
    with pytest.raises(ValueError, match=r"label must be an index in \[0, 4\)"):
        resolve_labels(found, LABELS)
