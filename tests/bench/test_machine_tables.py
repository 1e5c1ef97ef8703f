"""Tables across machines, from the files of machines that are made up."""

import json
from pathlib import Path
from typing import Any

import pytest

from vidtldr.bench.machine_tables import busy_tables, never_slower_tables

Rows = list[dict[str, Any]]


def around(median: float) -> dict[str, float]:
    return {"median": median, "lowest": median - 0.1, "highest": median + 0.1}


def row(name: str, group: str, figures: dict[str, Any], target: Any, is_met: Any) -> dict[str, Any]:
    return {
        "name": name,
        "workload": f"the {name}",
        "group": group,
        "figures": figures,
        "target": target,
        "is_met": is_met,
        "made": {"commit": "abc", "date": "2026-01-01", "command": "never_slower.py"},
    }


def model_row(gain: float, name: str = "umt-b", group: str = "umt-b") -> dict[str, Any]:
    figures = {
        "gain": around(gain),
        "flop_reduction": 1.7,
        "speedup_over_flop_reduction": around(gain / 1.7),
    }
    target = {"figure": "gain", "at_least": 1.5, "at_most": None}
    return row(name, group, figures, target, gain >= 1.5)


def attention_row(time: float, at_most: float | None) -> dict[str, Any]:
    target = None
    if at_most is not None:
        target = {"figure": "time_over_sdpa", "at_least": None, "at_most": at_most}
    is_met = None if at_most is None else time <= at_most
    return row("attention-588", "attention", {"time_over_sdpa": around(time)}, target, is_met)


def write(folder: Path, processor: str, rows: Rows, *, tiny: bool = False) -> None:
    environment = {
        "device": processor.replace("-", " ").upper(),
        "num_threads": 2,
        "versions": {"torch": "2.0"},
        "tiny": tiny,
    }
    report = {"processor": processor, "environment": environment, "rows": rows}
    (folder / f"{processor}.json").write_text(json.dumps(report))


def test_of_two_machines_there_are_ranges_with_the_machines_below(tmp_path: Path) -> None:
    write(tmp_path, "one-avx2", [attention_row(1.2, None), model_row(1.61)])
    write(tmp_path, "two-amx", [model_row(1.42), attention_row(2.3, 1.8)])
    text = never_slower_tables(tmp_path)
    assert (
        "| the umt-b | 1.70x | 1.42x to 1.61x | 0.84 to 0.95 | gain at least 1.5 | on 1 of 2 |"
    ) in text
    assert "| the attention-588 | 1.20x to 2.30x | time at most 1.8 | no |" in text
    assert "Measured on 2 machines, by `python benchmarks/never_slower.py`" in text
    assert "- ONE AVX2 (`one-avx2`), 2 threads, torch 2.0, 2026-01-01" in text
    assert "- TWO AMX (`two-amx`), 2 threads" in text
    assert "operators" not in text


def test_of_one_machine_it_says_so_and_shows_the_range_of_the_rounds(tmp_path: Path) -> None:
    write(tmp_path, "one-avx2", [model_row(1.7)])
    text = never_slower_tables(tmp_path)
    assert "| the umt-b | 1.70x | 1.70x (1.60 to 1.80) | 1.00 (0.90 to 1.10) |" in text
    assert "Measured on one machine so far" in text


def test_a_workload_that_a_machine_lacks_says_how_many_have_it(tmp_path: Path) -> None:
    write(tmp_path, "one-avx2", [model_row(1.7), model_row(1.6, "bundled", "bundled")])
    write(tmp_path, "two-amx", [model_row(1.7)])
    text = never_slower_tables(tmp_path)
    assert "| the bundled (1 of 2) | 1.70x | 1.60x (1.50 to 1.70) |" in text
    assert "| the umt-b | 1.70x | 1.70x | 1.00 | gain at least 1.5 | yes |" in text


def test_lines_are_in_the_order_of_the_groups(tmp_path: Path) -> None:
    rows = [model_row(1.7, "bundled", "bundled"), model_row(1.7)]
    write(tmp_path, "one-avx2", rows)
    text = never_slower_tables(tmp_path)
    assert text.index("| the umt-b ") < text.index("| the bundled ")


def test_operators_are_counted_in_a_table_of_their_own(tmp_path: Path) -> None:
    parts = {"of_that_attention": 30, "of_that_merge": 60, "of_that_mlp": 5}
    figures = {"unmerged_layer": 17, "merging_layer": 95, "layer_behind": 22, **parts}
    write(tmp_path, "one-avx2", [row("operators-umt-b", "operators", figures, None, None)])
    text = never_slower_tables(tmp_path)
    assert "| the operators-umt-b | 17 | 95 | 30, 60, 5 | 22 |" in text


def test_busy_machines_have_what_is_kept(tmp_path: Path) -> None:
    for processor, kept in (("one-avx2", 0.9), ("two-amx", 0.5)):
        figures = {
            "quiet_gain": around(2.0),
            "busy_gain": around(2 * kept),
            "flop_reduction": 2.5,
            "kept_share": around(kept),
        }
        target = {"figure": "kept_share", "at_least": 0.8, "at_most": None}
        rows = [row("busy-umt-b", "umt-b", figures, target, kept >= 0.8)]
        write(tmp_path, processor, rows)
    text = busy_tables(tmp_path)
    assert (
        "| the busy-umt-b | 2.50x | 2.00x | 1.00x to 1.80x | 0.50 to 0.90 | kept at least 0.8 "
        "| on 1 of 2 |"
    ) in text


def test_what_nobody_has_measured_says_how_to(tmp_path: Path) -> None:
    assert never_slower_tables(tmp_path) == "Not measured yet: `python benchmarks/never_slower.py`."
    assert busy_tables(tmp_path / "nothing") == "Not measured yet: `python benchmarks/busy.py`."


def test_sizes_of_tests_never_get_into_the_readme(tmp_path: Path) -> None:
    write(tmp_path, "one-avx2", [model_row(1.7)], tiny=True)
    with pytest.raises(ValueError, match="must be of full sizes, got one of 'one-avx2' by --tiny"):
        never_slower_tables(tmp_path)
