import math
from typing import NamedTuple

import pytest

from vidtldr.tune.frontier import best_for, frontier, nearest_to
from vidtldr.tune.target import Target


class Row(NamedTuple):
    speedup: float
    drift: float
    flop_ratio: float


ROWS = [Row(1.1, 0.01, 0.9), Row(1.6, 0.03, 0.6), Row(1.5, 0.02, 0.61), Row(2.0, 0.2, 0.4)]


@pytest.mark.parametrize(
    ("name", "value", "best"),
    [("speedup", 1.5, 2), ("speedup", 1.55, 1), ("drift", 0.05, 1), ("flop-ratio", 0.6, 1)],
)
def test_the_best_row_that_reaches_a_target(name: str, value: float, best: int) -> None:
    assert best_for(Target(name, value), ROWS) == ROWS[best]


@pytest.mark.parametrize(
    ("name", "value", "nearest"), [("speedup", 3, 3), ("drift", 0.001, 0), ("flop-ratio", 0.1, 3)]
)
def test_a_target_that_no_row_reaches_has_a_nearest(name: str, value: float, nearest: int) -> None:
    assert best_for(Target(name, value), ROWS) is None
    assert nearest_to(Target(name, value), ROWS) == ROWS[nearest]


def test_the_frontier_leaves_out_what_is_beaten() -> None:
    rows = [*ROWS, Row(1.05, 0.02, 0.7), Row(1.6, 0.03, 0.5)]
    found = frontier(rows, lambda row: (-row.speedup, row.drift))
    assert found == [ROWS[3], ROWS[1], ROWS[2], ROWS[0]]
    assert frontier([], lambda row: row) == []


@pytest.mark.parametrize(
    ("name", "value"),
    [("speedup", 0.9), ("speedup", math.inf), ("drift", 0.0), ("drift", 1.0), ("drift", math.nan)],
)
def test_a_value_out_of_range_is_refused(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"`target={name}` must be (at least 1|in \\(0, 1\\))"):
        Target(name, value)


def test_an_unknown_target_lists_what_there_is() -> None:
    with pytest.raises(ValueError, match="must be one of speedup, drift, flop-ratio, got 'speed'"):
        Target("speed", 2)
    assert str(Target("flop-ratio", 0.6)) == "flop-ratio=0.6"
