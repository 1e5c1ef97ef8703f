"""How comparisons end, of made-up gains."""

from io import StringIO

import pytest
from rich.console import Console

from vidtldr.cli.terminal import print_gain
from vidtldr.measure.busyness import IDLE, BusyReport
from vidtldr.measure.gain import Gain

GREEN = "\x1b[1;32m"


def printed(median: float, lowest: float, highest: float, busy: BusyReport = IDLE) -> str:
    file = StringIO()
    console = Console(file=file, width=80, force_terminal=True, color_system="standard")
    gain = Gain(median, lowest, highest, unmerged_ms=9.0, flop_ratio=0.77, busy=busy)
    print_gain(console, gain, "same top label", indent=2)
    return file.getvalue()


def test_a_gain_beyond_the_spread_is_green() -> None:
    text = printed(1.3, 1.2, 1.4)
    assert GREEN in text
    assert "  " + GREEN + "speed-up 1.30x; same top label" in text
    assert "why:" not in text


@pytest.mark.parametrize("ratios", [(1.1, 0.9, 1.4), (0.9, 0.8, 0.95)])
def test_what_is_none_is_not_green_and_has_its_reason(ratios: tuple[float, float, float]) -> None:
    text = printed(*ratios)
    assert GREEN not in text
    assert "why: " in text


def test_on_a_busy_machine_nothing_is_green_and_every_line_is_indented() -> None:
    text = printed(1.3, 1.2, 1.4, BusyReport(0.85, True))
    assert GREEN not in text
    assert "note: other programs used 85 % of the processor" in text
    assert all(line.startswith("  ") for line in text.splitlines())
