from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from vidtldr.shapes.language import caption
from vidtldr.shapes.world import ShapesWorld

Run = Callable[..., Result]
NOTE = "bundled shapes model: it knows coloured shapes, not your world\n"
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("columns", [80, 120])
def test_it_shows_answers_and_costs_within_the_width(
    run: Run, tmp_path: Path, columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    result = run("demo", tmp_path / "clips", "--num", 4)
    assert result.exit_code == 0, result.output
    assert result.stderr == NOTE
    *tables, last = result.stdout.splitlines()
    assert max(map(len, tables)) <= columns
    text = " ".join(" ".join(tables).split())
    for part in (
        "unmerged merged truth", "unmerged merged same answer", "a text finds its clip",
        "a clip finds its text", "a question is answered", "the best of 64 labels", " of 4 ",
        "tokens after each layer 512 x6", "GFLOPs", "median time", "speed-up", "same answers",
    ):  # fmt: skip
        assert part in text, part
    assert last.startswith("try: vidtldr search 'a ")
    assert last.endswith(f"{tmp_path / 'clips'}/*.mp4 --preset shapes --top 3")
    world = ShapesWorld(split="test")
    assert caption(world.factors([0]).rows()[0]) in last
    assert len(list((tmp_path / "clips").glob("*.mp4"))) == 4


def test_without_a_directory_nothing_is_left(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    result = run("demo", "--num", 2)
    assert result.exit_code == 0, result.output
    assert "try: " not in result.stdout
    assert list(tmp_path.iterdir()) == []


def test_a_directory_with_files_is_refused(run: Run, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").touch()
    result = run("demo", tmp_path)
    assert result.exit_code == 2
    assert "error: directory must be new or empty" in result.stderr
    assert result.stdout == ""
