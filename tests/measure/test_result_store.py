from pathlib import Path

import pytest

from vidtldr.measure.result_store import ResultStore

KEY = {"weights": "abc", "setting": {"r": [3, 2], "kind": "merging"}}


def never() -> object:
    raise AssertionError("measured again")


def test_what_was_measured_is_not_measured_again(tmp_path: Path) -> None:
    file = tmp_path / "new" / "quality.jsonl"
    store = ResultStore(file)
    assert KEY not in store
    assert store.get(KEY, lambda: {"r1": 41.5}) == {"r1": 41.5}
    again = ResultStore(file)
    reordered = {"setting": {"kind": "merging", "r": (3, 2)}, "weights": "abc"}
    assert again.get(reordered, never) == store.get(KEY, never) == {"r1": 41.5}
    assert {**KEY, "weights": "abd"} not in again


def test_what_does_not_last_is_known_in_this_process_alone(tmp_path: Path) -> None:
    store = ResultStore(tmp_path / "quality.jsonl")
    assert store.get(KEY, lambda: 5, lambda value: value != 5) == 5
    assert store.get(KEY, never) == 5
    assert KEY not in ResultStore(tmp_path / "quality.jsonl")


@pytest.mark.parametrize("num_bytes_lost", [1, 9, 30])
def test_a_torn_last_line_is_passed_over_and_the_next_one_is_whole(
    tmp_path: Path, num_bytes_lost: int
) -> None:
    file = tmp_path / "quality.jsonl"
    store = ResultStore(file)
    store.get(KEY, lambda: 1)
    store.get({"second": 2}, lambda: 2)
    file.write_bytes(file.read_bytes()[:-num_bytes_lost])
    resumed = ResultStore(file)
    assert resumed.get(KEY, never) == 1
    assert {"second": 2} not in resumed
    resumed.get({"third": 3}, lambda: 3)
    last = ResultStore(file)
    assert last.get({"third": 3}, never) == 3
    assert last.get(KEY, never) == 1


@pytest.mark.parametrize("line", [b"{}", b"[]", b"7", b'{"key": {}}', b"\xff\xfe{"])
def test_a_line_that_is_no_entry_is_passed_over(tmp_path: Path, line: bytes) -> None:
    file = tmp_path / "quality.jsonl"
    ResultStore(file).get(KEY, lambda: 1)
    file.write_bytes(line + b"\n" + file.read_bytes())
    assert ResultStore(file).get(KEY, never) == 1


def test_without_a_file_everything_stays_in_memory() -> None:
    store = ResultStore()
    assert store.get(KEY, lambda: 5) == store.get(KEY, never) == 5
    assert KEY not in ResultStore()
