"""What becomes a line for the user, and what stays a traceback because it is a bug."""

import warnings
from pathlib import Path

import pytest
import typer

from vidtldr.cache import cache_directory
from vidtldr.cli.bench.options import read_chosen
from vidtldr.cli.errors import clear_errors
from vidtldr.cli.model_options import parse_counts, read_schedule
from vidtldr.config import MergeConfig
from vidtldr.models.umt.config import UMTConfig


def test_what_the_library_refuses_is_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit) as ended, clear_errors(debug=False):
        MergeConfig(r=[-1])
    assert ended.value.exit_code == 2
    assert capsys.readouterr().err.startswith("error: r[0] must be at least 0, got -1.")


def test_what_another_library_refuses_is_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit), clear_errors(debug=False):
        raise ValueError("from outside this package")
    assert capsys.readouterr().err == "error: from outside this package\n"


def test_a_home_that_is_not_there_is_a_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("VIDTLDR_CACHE", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)

    def nobody(_: int) -> None:  # as for a user id that the system does not know
        raise KeyError

    monkeypatch.setattr("pwd.getpwuid", nobody)
    with pytest.raises(typer.Exit), clear_errors(debug=False):
        cache_directory("latency")
    assert capsys.readouterr().err.startswith("error: VIDTLDR_CACHE must be set where the user")


@pytest.mark.parametrize("text", ["[" * 100_000, '{"r":' * 100_000])
def test_a_file_nested_too_deeply_is_a_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, text: str
) -> None:
    file = tmp_path / "deep.json"
    file.write_text(text)
    for read in (read_schedule, UMTConfig.from_file, read_chosen):
        with pytest.raises(typer.Exit), clear_errors(debug=False):
            read(file)
        assert "nested too deeply" in capsys.readouterr().err


def test_notes_before_an_error_are_not_lost(capsys: pytest.CaptureFixture[str]) -> None:
    """Such as that the machine was busy while the latency was measured that refuses a speed-up."""
    from vidtldr.cli.load_model import notes_on_stderr

    def refuse() -> None:
        warnings.warn("other programs used 50 % of the processor", stacklevel=1)
        raise ValueError("speedup must be at most 1.0")

    with pytest.raises(typer.Exit), clear_errors(debug=False), notes_on_stderr():
        refuse()
    note, error = capsys.readouterr().err.splitlines()
    assert note == "note: other programs used 50 % of the processor"
    assert error == "error: speedup must be at most 1.0"


def test_a_line_of_ours_that_fails_without_raising_is_a_bug() -> None:
    with pytest.raises(TypeError, match="'NoneType'"), clear_errors(debug=False):
        MergeConfig(r=[1]).num_removed(None, 8)  # type: ignore[arg-type]


def test_what_is_raised_from_a_failing_line_is_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit), clear_errors(debug=False):
        parse_counts("--r", "a,b")
    assert "--r must be comma-separated integers, got 'a,b'" in capsys.readouterr().err
