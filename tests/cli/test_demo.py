import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from vidtldr.bench.subject import build_subject
from vidtldr.shapes.language import caption
from vidtldr.shapes.world import ShapesWorld

Run = Callable[..., Result]
NOTE = "bundled shapes model: it knows coloured shapes, not your world\n"
pytestmark = pytest.mark.usefixtures("one_thread", "small_headline")


@pytest.fixture
def small_headline(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model of two frames of 64² pixels in place of a full one."""
    small = lambda name: build_subject(name, num_frames=2, image_size=64)  # noqa: E731
    monkeypatch.setattr("vidtldr.bench.headline.build_subject", small)


@pytest.mark.parametrize("columns", [80, pytest.param(120, marks=pytest.mark.slow)])
def test_it_shows_answers_and_costs_within_the_width(
    run: Run, tmp_path: Path, columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    result = run("demo", tmp_path / "clips", "--num", 4)
    assert result.exit_code == 0, result.output
    assert result.stderr == NOTE
    *tables, last, report = result.stdout.splitlines()
    assert report == f"see what was merged: {tmp_path / 'clips' / 'report.html'}"
    page = (tmp_path / "clips" / "report.html").read_text()
    assert max(map(len, tables)) <= columns
    text = " ".join(" ".join(tables).split())
    assert text.startswith("A model of VideoMAE-B's size, random weights one clip on ")
    for part in (
        "unmerged merged truth", "unmerged merged same answer", "a text finds its clip",
        "a clip finds its text", "a question is answered", "the best of 64 labels", " of 4 ",
        "tokens after each layer 512 x6", "GFLOPs", "median time", "same answers at",
        "tokens behind the last layer 16 7",        "fastest to slowest of 5",
    ):  # fmt: skip
        assert part in text, part
    assert last.startswith("try: vidtldr search 'a ")
    assert last.endswith(f"{tmp_path / 'clips'}/*.mp4 --preset shapes --top 3")
    world = ShapesWorld(split="test")
    assert caption(world.factors([0]).rows()[0]) in last
    assert caption(world.factors([0]).rows()[0]) in page
    assert len(list((tmp_path / "clips").glob("*.mp4"))) == 4


@pytest.mark.slow
def test_without_a_directory_only_the_page_is_left(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    result = run("demo", "--num", 2)
    assert result.exit_code == 0, result.output
    assert "try: " not in result.stdout
    [page] = tmp_path.iterdir()
    assert result.stdout.endswith(f"see what was merged: {page}\n")
    assert page.suffix == ".html"


@pytest.mark.slow
def test_without_the_extra_it_says_how_to_get_a_page(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "jinja2", None)
    result = run("demo", tmp_path / "clips", "--num", 2)
    assert result.exit_code == 0, result.output
    assert "no report: jinja2 must be installed" in result.stdout
    assert not list((tmp_path / "clips").glob("*.html"))


def test_a_directory_with_files_is_refused(run: Run, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").touch()
    result = run("demo", tmp_path)
    assert result.exit_code == 2
    assert "error: DIRECTORY must be new or empty" in result.stderr
    assert result.stdout == ""
