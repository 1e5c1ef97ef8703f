import json
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vidtldr.evaluate.json_entries import read_entries


@pytest.fixture
def write(tmp_path):
    def to_file(content):
        path = tmp_path / "a.json"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return to_file


def test_every_entry_knows_its_line(write):
    path = write('\n[\n {"a": 1}, {"b":\n 2},\n\n  "c"\n, 4]\n')
    entries = read_entries(path)
    assert [(entry.line, entry.value) for entry in entries] == [
        (3, {"a": 1}),
        (3, {"b": 2}),
        (6, "c"),
        (7, 4),
    ]
    assert {entry.file for entry in entries} == {str(path)}


def test_a_byte_order_mark_and_windows_line_ends_are_read(write):
    entries = read_entries(write(b'\xef\xbb\xbf[\r\n"a",\r\n"b"]\r\n'))
    assert [(entry.line, entry.value) for entry in entries] == [(2, "a"), (3, "b")]


@pytest.mark.parametrize(
    ("content", "line", "message"),
    [
        ("", 1, "the file must be one JSON list"),
        ('{"a": 1}\n{"a": 2}', 1, "the file must be one JSON list"),
        ("[]", 1, "the list must have entries"),
        ('[\n{"a": 1},\n{"a" 2}]', 3, "must be valid JSON (Expecting ':' delimiter)"),
        ('[\n{"a": 1}\n{"a": 2}]', 3, "entries must have one comma between"),
        ('[\n{"a": 1},\n]', 2, "entries must have one comma between"),
        ('[\n{"a": 1},\n{"a": 2}', 3, "it may be cut off"),
        ('[\n{"a": 1},\n{"a": 2', 3, "must be valid JSON"),
        ('[\n{"a": "b', 2, "must be valid JSON (Unterminated string"),
        ("[1,\n", 1, "it may be cut off"),
        ("[", 1, "must be valid JSON (Expecting value)"),
        ('[1]\n\n{"more": 1}', 3, "nothing must follow the list"),
        ('["a",\n{"a": 1, "a": 2}]', 2, "plain JSON, got \"key 'a' twice\""),
        ('["a",\n\n{"a": NaN}]', 3, "plain JSON, got 'NaN'"),
        ('["a",\n' + "9" * 5000 + "]", 2, "plain JSON"),
        ('["a",\n' + "[" * 100_000 + "]", 2, "must not be nested deeply"),
        (b'["a",\n"\xff"]', 2, "the file must be UTF-8, got b'\\xff"),
    ],
)
def test_what_is_no_list_is_refused_with_its_line(write, content, line, message):
    path = write(content)
    with pytest.raises(ValueError, match="line") as caught:
        read_entries(path)
    assert str(caught.value).startswith(f"{path}, line {line}: ")
    assert message in str(caught.value)
    assert len(str(caught.value)) < 400 + len(str(path))


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@given(st.lists(JSON, min_size=1), st.sampled_from([None, 0, 2]))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_values_are_those_of_pythons_json(write, values, indent):
    entries = read_entries(write(json.dumps(values, indent=indent)))
    assert [entry.value for entry in entries] == values


def test_a_huge_file_takes_seconds(write):
    entries = [{"video": f"{i}.mp4", "caption": "a dog runs"} for i in range(200_000)]
    path = write("[\n" + ",\n".join(map(json.dumps, entries)) + "\n]")
    start = time.perf_counter()
    found = read_entries(path)
    assert time.perf_counter() - start < 20
    assert found[-1].line == 200_001
    assert found[-1].value == entries[-1]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (3, "x must be a string, got 3"),
        (None, "x must be a string, got None"),
        ("  ", "x must not be empty"),
        ("a" * 100_001, "x must have at most 100000 characters"),
        ("\ud83d", "x must be valid Unicode"),
    ],
)
def test_texts_are_checked(write, value, message):
    path = write(json.dumps([1, {"x": value}], indent=1))
    [_, entry] = read_entries(path)
    with pytest.raises(ValueError, match="line 3: ") as caught:
        entry.field("x").text()
    assert message in str(caught.value)


@pytest.mark.parametrize("value", [[], 3, {"a": 1}, None])
def test_lists_of_texts_are_checked(write, value):
    [entry] = read_entries(write(json.dumps([{"x": value}])))
    with pytest.raises(ValueError, match="x must be a string or a list of strings, got"):
        entry.field("x").texts()


def test_an_entry_must_be_an_object_with_the_key(write):
    [number, entry] = read_entries(write('[5,\n{"y": 1}]'))
    with pytest.raises(ValueError, match="line 1: the entry must be an object, got 5"):
        number.field("x")
    with pytest.raises(ValueError, match=r"line 2: the entry must have 'x', got \['y'\]"):
        entry.field("x")
