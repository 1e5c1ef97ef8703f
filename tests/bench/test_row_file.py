import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from vidtldr.bench.row import Row, Settings, Target
from vidtldr.bench.row_file import RowFile
from vidtldr.bench.row_run import choose_rows, measure_rows

MACHINE = {"device": "a device", "cpu_capability": "avx2", "num_threads": 2, "tiny": True}
MADE = MACHINE | {"commit": "abc", "date": "2026-01-01", "command": "never_slower.py"}


def row(name: str, gain: float = 1.5) -> Row:
    target = Target("gain", at_least=1.2)
    return Row(name, f"workload {name}", {"gain": gain, "flop_reduction": 2.0}, target)


def rows_in(path: Path) -> dict[str, dict[str, Any]]:
    return {found["name"]: found for found in json.loads(path.read_text())["rows"]}


def test_the_file_is_whole_after_every_row(tmp_path: Path) -> None:
    path = tmp_path / "new" / "machine.json"
    file = RowFile(path, "a-processor", MADE)
    for count, name in enumerate("ab", start=1):
        file.add("group", row(name))
        assert len(rows_in(path)) == count
    assert json.loads(path.read_text())["processor"] == "a-processor"
    assert rows_in(path)["a"]["group"] == "group"
    assert rows_in(path)["a"]["made"]["commit"] == "abc"
    assert rows_in(path)["a"]["is_met"] is True
    assert list(path.parent.iterdir()) == [path]


def test_a_run_that_is_stopped_keeps_the_rows_that_were_finished(tmp_path: Path) -> None:
    path = tmp_path / "machine.json"

    def stopped(_: Settings) -> Iterator[Row]:
        yield row("b")
        raise KeyboardInterrupt

    groups = {"first": lambda _: iter([row("a")]), "second": stopped, "third": stopped}
    with pytest.raises(KeyboardInterrupt):
        measure_rows(groups, Settings(), RowFile(path, "a-processor", MADE))
    assert set(rows_in(path)) == {"a", "b"}


def test_rows_that_are_there_stay_until_they_are_measured_anew(tmp_path: Path) -> None:
    path = tmp_path / "machine.json"
    for name in "ab":
        RowFile(path, "a-processor", MADE).add("group", row(name))
    RowFile(path, "a-processor", MADE | {"date": "2026-02-02"}).add("group", row("a", 1.0))
    found = rows_in(path)
    assert list(found) == ["a", "b"]
    assert found["a"]["is_met"] is False
    assert [found[name]["made"]["date"] for name in "ab"] == ["2026-02-02", "2026-01-01"]


@pytest.mark.parametrize("name", list(MACHINE))
def test_a_file_of_another_machine_is_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / "machine.json"
    RowFile(path, "a-processor", MADE).add("group", row("a"))
    with pytest.raises(ValueError, match=f"output must be new or of the same {name}, got .*Choose"):
        RowFile(path, "a-processor", MADE | {name: None})


def test_groups_are_chosen_by_name_in_their_own_order() -> None:
    groups = {name: lambda _: iter(()) for name in ("one", "two", "three")}
    assert list(choose_rows(groups, ["three", "one"])) == ["one", "three"]
    assert list(choose_rows(groups, None)) == ["one", "two", "three"]
    with pytest.raises(ValueError, match=r"rows must be among one, two, three, got 'four'\. Write"):
        choose_rows(groups, ["one", "four"])


@pytest.mark.parametrize(
    ("bounds", "value", "is_met"),
    [
        ({"at_least": 1.0}, 1.0, True),
        ({"at_least": 1.0}, 0.99, False),
        ({"at_most": 1.0}, 1.01, False),
        ({"at_most": 1.0}, {"median": 0.9, "lowest": 0.1, "highest": 5.0}, True),
    ],
)
def test_a_target_looks_at_the_figure_or_its_median(
    bounds: dict[str, float], value: Any, is_met: bool
) -> None:
    assert Target("gain", **bounds).is_met({"gain": value}) is is_met
