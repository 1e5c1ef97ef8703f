from dataclasses import replace
from io import StringIO

import pytest
from rich.console import Console
from support.made_up_tuning import LONG, made_up_tuning

from vidtldr.cli.tune.output import print_tuning, tuning_doubts, tuning_note
from vidtldr.cli.tune.tables import Shown
from vidtldr.measure.busyness import BusyReport
from vidtldr.tune.target import Target


def printed(width: int, kept_name: str | None) -> str:
    file = StringIO()
    print_tuning(Console(file=file, width=width), made_up_tuning(), kept_name)
    return file.getvalue()


@pytest.mark.parametrize("width", [80, 100, 140])
@pytest.mark.parametrize("kept_name", [None, "same label", "R@1"])
def test_nothing_is_cut_off(width: int, kept_name: str | None) -> None:
    text = printed(width, kept_name)
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= width
    for word in (
        "0,2..10",
        "0.0110",
        "1.62x",
        "received",
        "paper's setting",
        *LONG.name.split(),
    ):
        assert word in text
    assert ("88 %" in text) == (kept_name is not None)


def test_wide_terminals_show_counts_and_the_range_of_rounds() -> None:
    text = printed(160, None)
    assert "210,0,150" in text
    assert "1.58x" in text
    assert "Its rounds differ" not in text
    assert "Its rounds differ by up to 0.13." in " ".join(printed(80, None).split())


@pytest.mark.parametrize(("width", "kept_name"), [(80, None), (140, None), (140, "R@1")])
def test_the_drift_on_both_kinds_of_clips_is_shown_with_the_error_of_the_first(
    width: int, kept_name: str | None
) -> None:
    text = printed(width, kept_name)
    [line] = [line for line in text.splitlines() if "1.62x" in line]
    assert "0.0110  0.0022" in line
    assert ("0.0099, 88 %" in line) == (kept_name is not None)
    assert "0.0099" in line
    words = " ".join(text.split())
    assert words.startswith("15 clips, 8 searched and 7 held out; unmerged")
    assert "mean over the 7 held-out clips, which were not run until all was" in words
    assert "mean over the 8 search clips, by which all was chosen" in words


def test_a_narrow_table_with_kept_answers_says_how_large_the_errors_are() -> None:
    text = " ".join(printed(80, "same label").split())
    assert "0.0022" not in text
    assert "until all was chosen; standard errors up to 0.0200." in text
    result = made_up_tuning()
    rows = tuple(
        replace(row, held_out=replace(row.measured, num_clips=1, standard_error=None))
        for row in result.rows
    )
    note = tuning_note(replace(result, rows=rows), Shown("same label", 80))
    assert "; one clip has no standard error." in note


def test_one_held_out_clip_and_one_round_have_no_error_and_no_spread() -> None:
    result = made_up_tuning()
    rows = tuple(
        replace(row, held_out=replace(row.measured, num_clips=1, standard_error=None))
        for row in result.rows
    )
    unmerged = replace(result.unmerged, times_ms=result.unmerged.times_ms[:1])
    one = replace(result, rows=rows, num_held_out_clips=1, unmerged=unmerged)
    note = tuning_note(one, Shown(None, 80))
    assert "the 1 held-out clip, which was not run until" in note
    assert "one clip has no standard error" in note
    assert "median of 1 round in turn" in note
    assert "Its rounds differ" not in note


def test_a_target_that_is_missed_on_the_clips_held_out_is_said() -> None:
    result = made_up_tuning()
    assert result.chosen is not None
    moved = replace(result.chosen, held_out=replace(result.chosen.measured, mean=0.016))
    rows = tuple(moved if row is result.chosen else row for row in result.rows)
    missed = replace(result, chosen=moved, rows=rows)
    [doubt] = tuning_doubts(missed)
    assert doubt.startswith(
        "the schedule misses drift=0.015 on the held-out clips: its drift is 0.016 there and "
        "0.0099 on the search clips. "
    )
    assert tuning_doubts(replace(missed, target=Target("flop-ratio", 0.7))) == []


def test_times_of_two_days_are_said_to_be() -> None:
    result = made_up_tuning()
    assert "one clip, on 2026-01-01. Its" in tuning_note(result, Shown(None, 80))
    rows = (replace(result.rows[0], timed_on="2025-12-31"), *result.rows[1:])
    assert "on 2025-12-31 and 2026-01-01. Its" in tuning_note(
        replace(result, rows=rows), Shown(None, 80)
    )


def test_the_chosen_row_and_the_frontier_are_marked() -> None:
    table, _ = printed(160, None).split("> chosen,")  # which begins the notes below
    lines = [line.split() for line in table.splitlines()]
    marks = {line[0]: line[1] for line in lines if line and line[0] in (">", "*")}
    assert marks == {">": "representation-shift,", "*": "representation-shift,"}


def test_what_gains_nothing_is_said_with_its_reason() -> None:
    result = made_up_tuning()
    assert tuning_doubts(result) == []
    assert result.chosen is not None
    slow = replace(result.chosen, speedups={"median": 0.9, "lowest": 0.8, "highest": 0.95})
    chosen = replace(result, chosen=slow, kind=replace(result.kind, num_tokens=1568))
    [doubt] = tuning_doubts(chosen)
    assert doubt.startswith("the schedule: slower, 0.90x as fast; merging ")
    assert "of 1568 tokens removes" in doubt
    [doubt] = tuning_doubts(replace(result, chosen=None, nearest=slow))
    assert doubt.startswith("the nearest, ")


def test_a_busy_machine_is_said_and_is_in_the_json() -> None:
    result = made_up_tuning()
    first = result.rows[0]
    busy = replace(first, timing=replace(first.timing, busy=BusyReport(0.5, True)))
    found = replace(result, rows=(busy, *result.rows[1:]))
    assert tuning_doubts(found) == [BusyReport(0.5, True).warning]
    assert found.to_dict()["machine_was_busy"] is True
    assert result.to_dict()["machine_was_busy"] is False


def test_rounds_on_both_sides_of_one_are_marked() -> None:
    result = made_up_tuning()
    unclear = replace(result.rows[-1], speedups={"median": 1.02, "lowest": 0.9, "highest": 1.1})
    file = StringIO()
    found = replace(result, rows=(*result.rows[:-1], unclear))
    print_tuning(Console(file=file, width=80), found, None)
    assert "~1.02x" in file.getvalue()
