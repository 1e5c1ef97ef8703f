import time

import pytest

from vidtldr.cli.progress import phases, progress, status


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
