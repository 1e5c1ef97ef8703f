import pytest
import torch

from vidtldr.measure import timing as module
from vidtldr.measure.busyness import BusyReport
from vidtldr.measure.timing import Timing, paired_ratios, time_in_turn

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


@pytest.mark.parametrize(
    ("device", "num_threads", "waits"), [("cpu", torch.get_num_threads(), False), ("meta", 1, True)]
)
def test_what_others_take_is_watched_in_the_rounds_that_count(
    device: str, num_threads: int, waits: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[object] = []

    def judge(*arguments: object, **options: object) -> BusyReport:
        assert arguments == (None, None, num_threads)
        assert options == {"waits": waits}
        return BusyReport(0.5, True)

    monkeypatch.setattr(module, "synchronize", lambda _: None)
    monkeypatch.setattr(module, "read_processor", lambda: events.append("read"))
    monkeypatch.setattr(module, "busy_between", judge)
    timings = time_in_turn(
        {"a": lambda: events.append("a"), "b": lambda: events.append("b")},
        num_repeats=2,
        device=torch.device(device),
    )
    assert "".join(map(str, events)) == "abreadababread"
    assert {timing.busy for timing in timings.values()} == {BusyReport(0.5, True)}


def test_no_repeats_are_refused() -> None:
    with pytest.raises(ValueError, match="num_repeats must be at least 1, got 0"):
        time_in_turn({}, num_repeats=0, device=CPU)


def test_ratios_are_of_the_same_rounds() -> None:
    ratios = paired_ratios(Timing((4.0, 6.0, 9.0)), Timing((2.0, 2.0, 9.0)))
    assert ratios == {"median": 2, "lowest": 1, "highest": 3}
