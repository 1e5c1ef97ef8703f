import time
from types import SimpleNamespace

import pytest

from vidtldr.cli import terminal as terminal_module
from vidtldr.cli.index import run as index_progress
from vidtldr.cli.terminal import counted, phases, progress, rate, status
from vidtldr.pipeline.request import Progress


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "120")


@pytest.mark.usefixtures("terminal")
def test_every_part_has_a_bar_with_its_rate(capsys: pytest.CaptureFixture[str]) -> None:
    with phases() as on_step:
        for part in ("texts", "merged: videos [x]"):
            for done in range(1, 4):
                time.sleep(0.01)
                on_step(part, done, 3)
    out, err = capsys.readouterr()
    assert out == ""
    assert "texts" in err
    assert "merged: videos [x]" in err
    assert "3/3" in err
    assert "/s" in err


@pytest.mark.usefixtures("terminal")
def test_one_bar_counts_its_steps(capsys: pytest.CaptureFixture[str]) -> None:
    with progress("videos", 2) as on_step:
        on_step()
        on_step()
    assert "2/2" in capsys.readouterr().err


def test_off_a_terminal_nothing_shows(capsys: pytest.CaptureFixture[str]) -> None:
    with status("loading"), phases() as on_step:
        on_step("videos", 1, 1)
    assert capsys.readouterr() == ("", "")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """What the time is, for both modules."""
    clock = SimpleNamespace(now=1000.0, monotonic=lambda: clock.now)
    monkeypatch.setattr(terminal_module, "time", clock)
    monkeypatch.setattr(index_progress, "time", clock)
    return clock


def test_off_a_terminal_a_line_comes_every_few_seconds(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(terminal_module, "SECONDS_BETWEEN_LINES", 0.01)
    with progress("videos", 40) as on_step:
        on_step()
        time.sleep(0.2)
    with status("loading the model"):
        time.sleep(0.2)
    out, err = capsys.readouterr()
    assert out == ""
    assert "videos: 1 of 40, " in err
    assert "loading the model: 0 s so far" in err


def test_a_line_says_how_much_is_left(clock: SimpleNamespace) -> None:
    steps = terminal_module._Steps()
    assert steps.line() == "working"
    steps("videos", 0, 40)
    clock.now += 100
    steps("videos", 10, 40)
    assert steps.line() == "videos: 10 of 40, 5 min left"
    steps("texts", 3, 3)
    assert steps.line() == "texts: 3 of 3"


def test_lines_of_an_index_leave_out_what_was_before_the_first_video(
    clock: SimpleNamespace,
) -> None:
    run = index_progress._Clock("compiling the model")
    clock.now += 500
    assert run.line() == "compiling the model"
    for num_done in (0, 10, 25):
        run.update(Progress(num_files=100, num_done=num_done, num_failed=1, num_rows=num_done))
        clock.now += 50
    assert run.line() == "25 of 100 videos, 6.0 s each, 8 min left, 1 failed"


@pytest.mark.parametrize(
    ("per_second", "text"),
    [(32458.4, ""), (123.4, "123/s"), (2.34, "2.3/s"), (0.5, "2.0 s each")],
)
def test_rates_are_as_exact_as_they_can_be(per_second: float, text: str) -> None:
    assert rate(per_second) == text


@pytest.mark.usefixtures("terminal")
def test_a_part_that_ends_early_does_not_stay_unfinished(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with phases() as on_step:
        on_step("search", 8, 20)
        on_step("timing", 1, 2)
        time.sleep(0.2)
    shown = capsys.readouterr().err
    assert "8/8" in shown[shown.rindex("search") :]


@pytest.mark.usefixtures("terminal")
def test_the_bar_of_an_index_says_what_comes_first(capsys: pytest.CaptureFixture[str]) -> None:
    with index_progress.index_progress("compiling the model") as show:
        time.sleep(0.2)
        show(Progress(num_files=2, num_done=1, num_failed=0, num_rows=1))
    err = capsys.readouterr().err
    assert err.index("compiling the model") < err.index("1/2")


@pytest.mark.parametrize(
    ("number", "text"), [(0, "0 failures"), (1, "1 failure"), (1200, "1,200 failures")]
)
def test_a_number_agrees_with_its_word(number: int, text: str) -> None:
    assert counted(number, "failure") == text
