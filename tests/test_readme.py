"""README.md keeps its word: the figures are those of the JSON files, and what it shows runs."""

import re
import runpy
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)


def test_the_measured_table_is_generated_from_the_json_files(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    script = ROOT / "benchmarks" / "write_readme_table.py"
    monkeypatch.setattr(sys, "argv", [str(script), "--check"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(script), run_name="__main__")
    assert ended.value.code == 0


def test_every_make_target_that_is_mentioned_exists() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for document in ("README.md", "CONTRIBUTING.md", ".ci/run"):
        for target in re.findall(r"^make ([a-z-]+)", (ROOT / document).read_text(), re.MULTILINE):
            assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory in which `make demo` has been run."""
    directory = tmp_path_factory.mktemp("readme")
    command = [sys.executable, ROOT / "examples" / "01_demo.py", "demo"]
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, check=True)
    assert "untrained" in done.stdout
    assert "speed-up" in done.stdout
    return directory


@pytest.mark.slow
def test_the_python_of_the_readme_runs(demo: Path) -> None:
    (code,) = blocks("python")
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=demo, capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("[968, 768, 668, 668,")


@pytest.mark.slow
def test_the_commands_of_the_readme_run(demo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In this process: that one starts and ends well by itself is tested with the commands."""
    from typer.testing import CliRunner

    from vidtldr.cli.main import app

    commands = [
        line for block in blocks("sh") for line in block.splitlines() if line.startswith("vidtldr ")
    ]
    assert len(commands) >= 2
    monkeypatch.chdir(demo)
    for command in commands:
        done = CliRunner().invoke(app, shlex.split(command)[1:])
        assert done.exit_code == 0, done.output


def test_every_option_of_every_command_that_is_shown_exists() -> None:
    """Commands that need published checkpoints cannot run here; their options can be looked up."""
    from typer.testing import CliRunner

    from vidtldr.cli.main import app

    shown = [
        shlex.split(line.split("#")[0])
        for line in README.splitlines()
        if line.startswith("vidtldr ")
    ]
    assert len(shown) > 20
    for command in shown:
        words = command[1:3] if command[1] in ("bench", "evaluate", "index") else command[1:2]
        explained = CliRunner().invoke(app, [*words, "--help"], env={"COLUMNS": "200"}).stdout
        for option in (word for word in command if word.startswith("-")):
            assert f"{option} " in explained, (command, option)
