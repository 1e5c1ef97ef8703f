"""What becomes a line for the user, and what stays a traceback because it is a bug."""

import errno
import os
import warnings
from pathlib import Path

import pytest
import torch
import typer

from vidtldr.cache import cache_directory
from vidtldr.cli.errors import clear_errors
from vidtldr.cli.typed_values import parse_counts
from vidtldr.config import MergeConfig
from vidtldr.files import whole_file, write_json
from vidtldr.models.umt.config import UMTConfig


def test_what_the_library_refuses_is_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit) as ended, clear_errors(debug=False):
        MergeConfig(r=[-1])
    assert ended.value.exit_code == 2
    assert capsys.readouterr().err.startswith("error: --r[0] must be at least 0, got -1.")


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


@pytest.mark.parametrize(
    ("content", "rule"),
    [
        (bytes(range(256)), "it is not UTF-8 text."),
        (b"", "it is no JSON in line 1, column 1: expecting value."),
        (
            b'{"r":\n [' + b"9" * 5000 + b"]}",
            "it is no JSON in line 2, column 3: a number with too",
        ),
        (b'{"flop_ratio": 2}', "flop_ratio must be in (0, 1]"),
    ],
)
def test_a_schedule_that_cannot_be_read_is_a_line_in_our_words(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, content: bytes, rule: str
) -> None:
    (tmp_path / "s.json").write_bytes(content)
    with pytest.raises(typer.Exit), clear_errors(debug=False):
        MergeConfig.from_pretrained(tmp_path / "s.json")
    assert f"s.json': {rule}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("path", "rule"),
    [
        ("none.json", "none.json': no such file or directory. Check the path."),
        (".", "is a directory. Name a file."),
        ("n" * 300, f"'{'n' * 60}...': file name too long. Shorten it."),
    ],
)
def test_an_error_of_the_system_names_the_file_and_a_remedy(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    path: str,
    rule: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(typer.Exit), clear_errors(debug=False):
        Path(path).read_text()
    line = capsys.readouterr().err
    assert line.endswith(f"{rule}\n")
    assert "Errno" not in line


def test_a_full_device_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit), clear_errors(debug=False):
        write_json(Path("/dev/full"), {})
    line = capsys.readouterr().err
    assert line.startswith("error: '/dev/full': no space left on device. Free some space")


def test_a_full_disk_names_the_file_and_not_its_temporary_name(tmp_path: Path) -> None:
    file = tmp_path / "page.html"
    with pytest.raises(OSError, match="No space left") as raised, whole_file(file) as partial:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(partial))
    assert raised.value.filename == str(file)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("shape", [(2**46,), (2**31, 2**31, 2**31)])
def test_memory_that_no_machine_has_is_a_line(
    capsys: pytest.CaptureFixture[str], shape: tuple[int, ...]
) -> None:
    with pytest.raises(typer.Exit), clear_errors(debug=False):
        torch.empty(shape)
    assert capsys.readouterr().err.startswith("error: this needs more memory than there is.")


def test_other_errors_while_running_stay_bugs() -> None:
    with pytest.raises(RuntimeError, match="sizes differ"), clear_errors(debug=False):
        raise RuntimeError("sizes differ")


@pytest.mark.parametrize("text", ["[" * 100_000, '{"r":' * 100_000])
def test_a_file_nested_too_deeply_is_a_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, text: str
) -> None:
    file = tmp_path / "deep.json"
    file.write_text(text)
    for read in (MergeConfig.from_pretrained, UMTConfig.from_file):
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
