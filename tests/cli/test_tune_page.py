from dataclasses import replace

import pytest
from support.made_up_tuning import LONG, made_up_tuning

from vidtldr.cli.tune.output import tuning_page
from vidtldr.tune.plot import tuning_plot
from vidtldr.visualize.plot import NARROW_INCHES, WIDE_INCHES

ENVIRONMENT = {
    "command": "vidtldr tune",
    "commit": None,
    "date": "2026-01-01",
    "device": "a device",
    "num_threads": 2,
    "platform": "an OS",
    "python": "3.11",
    "versions": {"vidtldr": "1"},
}
REPORT = {"environment": ENVIRONMENT, "failed": []}


def test_it_says_what_was_chosen_and_every_number() -> None:
    page = tuning_page(REPORT, made_up_tuning(), "same label")
    assert page.verdict == (
        f"Chosen: {LONG.name}, in layers 0,2..10. It is 1.62x as fast with drift 0.011 and "
        "60% of the FLOPs."
    )
    assert page.facts[:2] == [
        ("videos", "15 clips, 8 searched and 7 held out"),
        ("target", "drift=0.015"),
    ]
    timed, scores = page.tables
    assert [timed.rows[number][0] for number in timed.strong_rows] == [f"> {LONG.name}"]
    assert not scores.strong_rows  # what is dim on a terminal is no emphasis
    assert "same label" in timed.columns
    assert all(len(row) == len(table.columns) for table in page.tables for row in table.rows)


def test_a_target_that_nothing_reaches_is_said() -> None:
    page = tuning_page(REPORT, replace(made_up_tuning(), chosen=None), None)
    assert page.verdict.startswith("Nothing reaches drift=0.015; the nearest, representation-shift")


def test_the_plot_has_a_panel_of_times_and_one_of_budgets_at_any_width() -> None:
    pytest.importorskip("matplotlib")
    plot = tuning_plot(made_up_tuning())
    for inches in (WIDE_INCHES, NARROW_INCHES):
        assert len(plot.draw(inches).axes) == 2
    assert plot.svg(NARROW_INCHES) == plot.svg(NARROW_INCHES)
