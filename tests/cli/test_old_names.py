"""Options that were renamed work by their old names for one version, with a notice."""

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

Run = Callable[..., Result]


@pytest.mark.parametrize(
    ("command", "old", "new"),
    [
        (("search", "a dog"), "--in", "--index"),
        (("index", "add", "nothing.mp4"), "--into", "--index"),
        (("tune", "nothing.mp4"), "--metric", "--drift-by"),
        (("classify", "nothing.mp4"), "--repeats", "--rounds"),
        (("show", "nothing.mp4"), "--repeats", "--rounds"),
        (("bench", "latency"), "--peers", "--baselines"),
        (("bench", "memory"), "--peers", "--baselines"),
    ],
)
@pytest.mark.parametrize("joined", [False, True])
def test_an_old_name_is_taken_with_a_notice(
    run: Run, tmp_path: Path, command: tuple[str, ...], old: str, new: str, joined: bool
) -> None:
    value = str(tmp_path / "nothing here")
    by_old, by_new = (
        run(*command, *([f"{name}={value}"] if joined else [name, value])) for name in (old, new)
    )
    notice = f"note: {old} is now {new}; the next version drops the old name\n"
    assert by_old.stderr == notice + by_new.stderr
    assert (by_old.exit_code, by_old.stdout) == (by_new.exit_code, by_new.stdout)
    assert by_new.exit_code == 2  # there is nothing there


def test_what_stands_behind_two_dashes_is_no_option(run: Run) -> None:
    assert "is now" not in run("search", "a dog", "--", "--in").stderr


def test_help_has_the_new_names_alone(run: Run) -> None:
    shown = run("search", "--help").stdout
    assert "--index" in shown
    assert "--in " not in shown
