"""README.md keeps its word: it is short, and what it shows runs."""

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.shown_pages import PAGES, README, ROOT, blocks

MAX_BYTES = 9_000


def test_it_is_short() -> None:
    assert README.stat().st_size <= MAX_BYTES


def test_a_demo_installs_nothing_that_only_tests_need(tmp_path: Path) -> None:
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)

    def installs(target: str) -> list[str]:
        command = ["make", "--dry-run", target]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
        return re.findall(r"--editable '(.*?)'", done.stdout)

    assert installs("demo") == installs("example") == [".[report]"]
    assert installs("lint") == [".[report]", ".[dev]"]


def test_it_names_the_oldest_versions_that_are_tested() -> None:
    needs = (ROOT / "pyproject.toml").read_text()
    for name, package in (("torch", "torch"), ("transformers", "transformers"), ("PyAV", "av")):
        [oldest] = re.findall(rf'"{package}>=([\d.]+)', needs)
        assert f"{name} {oldest}" in " ".join(README.read_text().split())


def test_every_family_that_is_known_is_listed() -> None:
    from vidtldr.hosts.registry import FAMILIES

    for page in (README, ROOT / "docs" / "models.md"):
        rows = "\n".join(line for line in page.read_text().splitlines() if line.startswith("|"))
        for family in FAMILIES:
            name, _, _ = family.family.partition(" (")
            assert re.search(rf"\b{name}\b", rows), (page.name, name)


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory in which `make example` has been run."""
    directory = tmp_path_factory.mktemp("readme")
    command = [sys.executable, ROOT / "examples" / "01_demo.py", "demo"]
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, check=True)
    assert "untrained" in done.stdout
    assert "largest change of a probability" in " ".join(done.stdout.split())
    return directory


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_python_of_a_page_runs(page: Path, demo: Path) -> None:
    """Its blocks one after the other, as somebody would type them."""
    code = "\n".join(blocks(page, "python"))
    if not code:
        return
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=demo, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    if page == README:
        assert done.stdout.startswith("[968, 768, 668, 668,")


@pytest.mark.slow
def test_the_commands_of_the_pages_run(demo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In this process: that one starts and ends well by itself is tested with the commands."""
    from typer.testing import CliRunner

    from vidtldr.cli.main import app

    lines = [line for page in PAGES for block in blocks(page, "sh") for line in block.splitlines()]
    commands = dict.fromkeys(line for line in lines if line.startswith("vidtldr "))
    assert len(commands) > 3
    monkeypatch.chdir(demo)
    for command in commands:
        done = CliRunner().invoke(app, shlex.split(command)[1:])
        assert done.exit_code == 0, done.output
