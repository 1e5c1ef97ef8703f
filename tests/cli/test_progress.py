import time
from types import SimpleNamespace

import pytest

from vidtldr.cli import index_progress
from vidtldr.cli.progress import phases, progress, status
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


def test_lines_of_an_index_leave_out_what_was_before_the_first_video(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seconds = iter((1000, 1050, 1100))  # the first when the model is loaded and compiled
    monkeypatch.setattr(index_progress, "time", SimpleNamespace(monotonic=lambda: next(seconds)))
    with index_progress.index_progress("compiling the model") as show:
        for num_done in (0, 10, 25):
            show(Progress(num_files=100, num_done=num_done, num_failed=1, num_rows=num_done))
    line = "25 of 100 videos, 0.2/s, 5 min left, 1 failed\n"
    assert capsys.readouterr() == ("", line)


@pytest.mark.usefixtures("terminal")
def test_the_bar_of_an_index_says_what_comes_first(capsys: pytest.CaptureFixture[str]) -> None:
    with index_progress.index_progress("compiling the model") as show:
        time.sleep(0.2)
        show(Progress(num_files=2, num_done=1, num_failed=0, num_rows=1))
    err = capsys.readouterr().err
    assert err.index("compiling the model") < err.index("1/2")
