"""The pages of docs/ and README.md: links lead somewhere, and what is named exists."""

import re
import runpy
import shlex
import sys
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.shown_pages import DOCS, PAGES, README, ROOT, blocks, headings, links, spans
from test_imports import FLOORS, PACKAGE

by_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def test_what_is_generated_is_as_the_json_files_have_it(monkeypatch: pytest.MonkeyPatch) -> None:
    script = ROOT / "benchmarks" / "write_tables.py"
    monkeypatch.setattr(sys, "argv", [str(script), "--check"])
    monkeypatch.syspath_prepend(str(script.parent))
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(script), run_name="__main__")
    assert ended.value.code == 0


@by_page
def test_every_link_leads_to_a_file_and_a_heading_that_are_there(page: Path) -> None:
    for path, anchor in links(page):
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), (page.name, path)
        if anchor:
            assert anchor in headings(target), (page.name, path, anchor)
        if page != README:  # the site holds nothing else
            assert target.is_relative_to(DOCS), (page.name, path)


def test_the_site_has_every_page() -> None:
    config = yaml.safe_load((ROOT / "mkdocs.yml").read_text())
    assert sorted(_leaves(config["nav"])) == [page.name for page in PAGES if page != README]


def _leaves(nav: Any) -> list[str]:
    if isinstance(nav, str):
        return [nav]
    entries = nav.values() if isinstance(nav, dict) else nav
    return [leaf for entry in entries for leaf in _leaves(entry)]


@pytest.mark.parametrize("package", ["", "video", "tasks", "pipeline", "store", "measure", "hosts"])
def test_every_public_name_is_in_the_reference(package: str) -> None:
    names = import_module(f"vidtldr.{package}".strip(".")).__all__
    shown = set(re.findall(r"\w+", (DOCS / "api.md").read_text()))
    assert set(names) - {"__version__"} <= shown


@pytest.mark.parametrize(
    "document", [*PAGES, ROOT / "CONTRIBUTING.md", ROOT / ".ci" / "run"], ids=lambda path: path.name
)
def test_every_make_target_that_is_mentioned_exists(document: Path) -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"(?:^|`)make ([a-z-]+)", document.read_text(), re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


@cache
def options_of(*words: str) -> frozenset[str]:
    """Options of a command, those of its subcommands among them."""
    from typer.main import get_command

    from vidtldr.cli.main import app

    command: Any = get_command(app)
    for word in words:
        command = command.commands[word]
    found = {option for each in _with_subcommands(command) for option in each}
    return frozenset(found | {"--help"})


def _with_subcommands(command: Any) -> list[list[str]]:
    own = [[*parameter.opts, *parameter.secondary_opts] for parameter in command.params]
    below = getattr(command, "commands", {}).values()
    return own + [options for each in below for options in _with_subcommands(each)]


def shown_commands(page: Path) -> list[list[str]]:
    """Those by which a table was measured are left out: they were typed in their time."""
    lines = [line for block in blocks(page) for line in block.splitlines()]
    shown = [*lines, *spans(page, but_in_lines_that_start="Measured on")]
    return [shlex.split(line, comments=True) for line in shown if line.startswith("vidtldr ")]


@by_page
def test_every_option_of_every_command_that_is_shown_exists(page: Path) -> None:
    """Commands that need published checkpoints cannot run here; their options can be looked up."""
    from vidtldr.cli.main import app

    groups = {group.name for group in app.registered_groups}
    for command in shown_commands(page):
        if command[1] == "COMMAND" or command[1].startswith("-"):
            continue
        num_words = 2 if command[1] in groups and len(command) > 2 else 1
        known = options_of(*command[1 : 1 + num_words])
        typed = [word for word in command if word.startswith("-") and word != "-"]
        assert set(typed) <= known, (page.name, command)


def test_enough_commands_are_shown_to_check() -> None:
    assert sum(len(shown_commands(page)) for page in PAGES) > 60


@by_page
def test_every_option_that_is_named_exists(page: Path) -> None:
    scripts = "".join(path.read_text() for path in (ROOT / "benchmarks").glob("*.py"))
    known = {"--"} | options_of() | set(re.findall(r'"(--[a-z-]+)"', scripts))
    for span in spans(page):
        if span.startswith("--"):
            assert span.split()[0] in known, (page.name, span)


_FOLDERS = "benchmarks|examples|recipes|tests|src"
_FILE = re.compile(rf"(?:python )?((?:{_FOLDERS})/[\w./-]+|\d\d_\w+\.\w+)")


@by_page
def test_every_script_and_result_that_is_named_is_there(page: Path) -> None:
    folders = (ROOT, ROOT / "benchmarks", ROOT / "benchmarks" / "results")
    for named in filter(None, map(_FILE.match, spans(page))):
        assert any((folder / named[1]).exists() for folder in folders), (page.name, named[1])


def test_the_rooms_of_the_design_are_the_folders_of_the_package() -> None:
    design = (DOCS / "design.md").read_text()
    folders = {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").exists()}
    assert set(re.findall(r"^\| `(\w+)/` \|", design, re.MULTILINE)) == folders
    files = {path.name for path in PACKAGE.glob("*.py") if not path.name.startswith("__")}
    rows = re.findall(r"^\| (`\w+\.py`.*?) \|", design, re.MULTILINE)
    assert set(re.findall(r"`(\w+\.py)`", " ".join(rows))) == files


def test_the_floors_of_the_design_are_those_that_are_checked() -> None:
    (floors,) = [block for block in blocks(DOCS / "design.md") if block.startswith("video  models")]
    assert [set(line.split()) for line in floors.splitlines()] == FLOORS


def test_the_help_of_a_group_is_found() -> None:
    assert "--scaling" in options_of("bench")
    assert "--scaling" in options_of("bench", "latency")
    assert "--scaling" not in options_of("classify")
