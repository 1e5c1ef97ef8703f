from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result
from support.outcomes import one_error_line, rows
from support.umt_files import UMTFiles

from vidtldr.shapes.export import export_clips
from vidtldr.shapes.world import ShapesWorld

Run = Callable[..., Result]
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("shapes") / "clips"
    export_clips(directory, ShapesWorld(2, "validation"), 3, start=7)
    return directory


def test_the_files_are_those_that_the_function_writes(
    run: Run, folder: Path, tmp_path: Path
) -> None:
    flags = ("--num", 3, "--split", "validation", "--seed", 2, "--start", 7)
    result = run("shapes", "export", tmp_path / "clips", *flags)
    assert result.exit_code == 0, result.output
    assert result.stdout == f"wrote 3 clips to {tmp_path / 'clips'}\n"
    assert result.stderr == ""
    assert len(list(folder.iterdir())) == 3 + 5
    for file in folder.iterdir():
        assert file.read_bytes() == (tmp_path / "clips" / file.name).read_bytes()


def test_a_directory_with_files_is_refused(run: Run, folder: Path) -> None:
    before = sorted(folder.iterdir())
    line = one_error_line(run("shapes", "export", folder))
    assert "DIRECTORY must be new or empty" in line
    assert sorted(folder.iterdir()) == before


@pytest.mark.parametrize(
    "flags", [("--num", 0), ("--seed", -1), ("--start", -1), ("--split", "dev"), ("--num", 10**6)]
)
def test_what_cannot_be_written_is_a_usage_error(
    run: Run, tmp_path: Path, flags: tuple[str, int]
) -> None:
    assert run("shapes", "export", tmp_path / "clips", *flags).exit_code == 2
    assert not (tmp_path / "clips").exists()


def test_the_folder_can_be_evaluated_as_it_is(run: Run, umt: UMTFiles, folder: Path) -> None:
    annotations = ("--annotations", folder / "retrieval.json", "--videos", folder)
    result = run(
        "evaluate", "retrieval", *annotations, "--protocol", "msrvtt", *umt.flags, "--json"
    )
    assert result.exit_code == 0, result.output
    [found] = rows(result)
    assert (found["run"]["num_videos"], found["num_texts"]) == (3, 3)
    questions = ("--annotations", folder / "questions.json", "--videos", folder)
    answers = ("--answers", folder / "answers.json")
    result = run("evaluate", "answering", *questions, *answers, *umt.answering_flags, "--json")
    assert result.exit_code == 0, result.output
    [found] = rows(result)
    assert found["num_questions"] >= 15
    assert found["num_unanswerable"] == 0


def test_the_folder_can_be_searched_asked_and_labelled_as_it_is(
    run: Run, umt: UMTFiles, folder: Path
) -> None:
    videos = sorted(folder.glob("*.mp4"))
    found = run("search", "red star", *videos, *umt.flags, "--json")
    assert [row["error"] for row in rows(found)] == [None] * 3
    flags = ("--answers", folder / "answers.json", *umt.answering_flags, "--json")
    [answered] = rows(run("ask", videos[0], "what color is it", *flags))
    assert len(answered["answers"]) == 5
    labels = ("--labels", folder / "labels.txt")
    labelled = rows(run("classify", *videos, *labels, *umt.flags, "--json"))
    assert all(row["error"] is None and len(row["labels"]) == 5 for row in labelled)
    assert all(row["num_frames_in_file"] == 8 and row["notes"] == [] for row in labelled)
