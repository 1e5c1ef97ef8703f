import pytest
import torch

from vidtldr.hosts.timing import Timing, paired_ratios, time_in_turn

CPU = torch.device("cpu")


def test_runs_are_timed_in_turn_after_a_warm_up() -> None:
    order: list[str] = []
    steps: list[int] = []
    runs = {name: lambda name=name: order.append(name) for name in "ab"}
    timings = time_in_turn(
        runs, num_repeats=3, num_warmups=2, device=CPU, on_step=lambda: steps.append(1)
    )
    assert order == ["a", "b"] * 5
    assert len(steps) == 10
    assert all(len(timing.times_ms) == 3 for timing in timings.values())
    fastest, slowest = timings["a"].spread_ms
    assert 0 <= fastest <= timings["a"].median_ms <= slowest


def test_no_repeats_are_refused() -> None:
    with pytest.raises(ValueError, match="num_repeats must be at least 1, got 0"):
        time_in_turn({}, num_repeats=0, device=CPU)


def test_ratios_are_of_the_same_rounds() -> None:
    ratios = paired_ratios(Timing((4.0, 6.0, 9.0)), Timing((2.0, 2.0, 9.0)))
    assert ratios == {"median": 2, "lowest": 1, "highest": 3}
