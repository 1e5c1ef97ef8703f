from io import StringIO

import pytest
from cli.made_up_tuning import LONG, made_up_tuning
from rich.console import Console

from vidtldr.cli.tune_output import print_tuning


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
        "0,2,4,6,8,10",
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
    assert "Its rounds differ by up to 0.13." in printed(80, None).replace("\n", " ")


def test_the_chosen_row_and_the_frontier_are_marked() -> None:
    lines = [line.split() for line in printed(160, None).splitlines()]
    lines = [line for line in lines if line[:2] != [">", "chosen,"]]  # the note
    marks = {line[0]: line[1] for line in lines if line and line[0] in (">", "*")}
    assert marks == {">": "representation-shift,", "*": "representation-shift,"}
