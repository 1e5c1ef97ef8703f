"""How videos are named: folders, patterns, lists, and arguments that are really something else."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result
from support.outcomes import one_error_line, rows
from support.umt_files import UMTFiles
from support.umt_sets import VideoSet

Run = Callable[..., Result]
pytestmark = pytest.mark.usefixtures("one_thread")
COMMANDS = [
    ("classify",),
    ("embed", "-o", "out.parquet"),
    ("search", "a red star"),
    ("tune",),
]


@pytest.fixture
def folder(films: VideoSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with two videos in `videos/`."""
    (tmp_path / "videos" / "deep").mkdir(parents=True)
    shutil.copy(films.paths[0], tmp_path / "videos" / "a.mp4")
    shutil.copy(films.paths[1], tmp_path / "videos" / "deep" / "b.mp4")
    (tmp_path / "videos" / "notes.md").write_text("no video")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("sources", "expected"),
    [
        (["videos"], ["videos/a.mp4", "videos/deep/b.mp4"]),
        (["videos/**/*.mp4"], ["videos/a.mp4", "videos/deep/b.mp4"]),
        (["list.txt"], ["videos/deep/b.mp4"]),
        (["-"], ["videos/a.mp4"]),
    ],
)
def test_classify_takes_folders_patterns_and_lists(
    run: Run,
    umt: UMTFiles,
    folder: Path,
    sources: list[str],
    expected: list[str],
) -> None:
    (folder / "list.txt").write_text("videos/deep/b.mp4\n")
    flags = (*umt.flags, "--labels", "dog,cat", "--json")
    from typer.testing import CliRunner

    from vidtldr.cli.main import app

    arguments = [str(each) for each in ("classify", *sources, *flags)]
    result = CliRunner().invoke(app, arguments, input="videos/a.mp4\n")
    assert result.exit_code == 0, result.output
    assert [row["video"] for row in rows(result)] == expected


def test_embed_and_search_take_a_folder(run: Run, umt: UMTFiles, folder: Path) -> None:
    pytest.importorskip("pyarrow.parquet", reason="pip install 'vidtldr[search]'")
    result = run("embed", "videos", *umt.flags, "-o", "videos/new.parquet", "--json")
    assert [row["video"] for row in rows(result)] == ["videos/a.mp4", "videos/deep/b.mp4"]
    result = run("search", "a dog runs", "videos", *umt.flags, "--json")
    assert {row["video"] for row in rows(result)} == {"videos/a.mp4", "videos/deep/b.mp4"}


def test_a_video_in_a_folder_is_not_written_over(run: Run, folder: Path) -> None:
    (folder / "videos" / "odd").write_bytes(b"video")
    (folder / "list.txt").write_text("videos/odd\n")
    line = one_error_line(run("embed", "list.txt", "-o", "videos/odd"))
    assert "--output must not overwrite an input" in line
    assert "overwrite an input" in one_error_line(run("tune", "list.txt", "-o", "videos/odd"))


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
@pytest.mark.parametrize(
    ("videos", "message"),
    [
        (["no.mp4"], "'no.mp4': no such file. Check the path."),
        (["no.mp4", "never.mp4"], "'no.mp4': no such file, and none of the 2 videos exists."),
        (["empty"], "no videos in 'empty'."),
        (["*.xyz"], "the pattern '*.xyz', which matches none"),
        (["videos", "20", "10"], "VIDEO must be a file, got the number 20. Write several numbers"),
        (["videos", "30]"], "VIDEO must be a file, got the number 30."),
        (["videos", "true"], "got 'true'. Options such as --compare take no value"),
    ],
)
def test_what_is_no_video_is_said_before_anything_is_loaded(
    run: Run, folder: Path, command: tuple[str, ...], videos: list[str], message: str
) -> None:
    (folder / "empty").mkdir()
    name, *rest = command
    text = rest[:1] if name == "search" else []
    options = [] if name == "search" else rest
    # The bundled model would be named on stderr once it is loaded.
    line = one_error_line(run(name, *text, *videos, *options))
    assert message in line


def test_a_number_that_is_a_file_is_a_video(run: Run, umt: UMTFiles, folder: Path) -> None:
    shutil.copy(folder / "videos" / "a.mp4", folder / "20")
    result = run("classify", "20", *umt.flags, "--labels", "dog,cat", "--json")
    assert json.loads(result.stdout)["error"] is None


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("search videos/a.mp4 videos", "TEXT must be words, got the path 'videos/a.mp4'. Write it"),
        ("search no.mp4 videos", "TEXT must be words, got the path 'no.mp4'"),
        ("search videos/deep videos", "TEXT must be words, got the path 'videos/deep'"),
        ("search videos/a.mp4 --index x", "Write --like videos/a.mp4 to find clips"),
        ("search --like no.mp4 --index x", "'no.mp4': no such file"),
        ("ask videos/a.mp4 videos/a.mp4", "QUESTION must be words, got the path"),
        ("ask no.mp4 why", "'no.mp4': no such file"),
        ("ask videos why", "'videos': a folder, where one video is needed"),
        ("show no.mp4 --r 2", "'no.mp4': no such file"),
        ("show videos/a.mp4 --r 2 --text videos/a.mp4", "--text must be words, got the path"),
        ("show videos/a.mp4 --r 2 --question videos/a.mp4", "--question must be words"),
        ("index add videos 20 --index x", "VIDEO must be a file, got the number 20"),
    ],
)
def test_a_path_is_never_taken_for_a_text(
    run: Run, folder: Path, command: str, message: str
) -> None:
    assert message in one_error_line(run(*command.split()))


def test_a_text_may_be_the_name_of_a_folder(run: Run, umt: UMTFiles, folder: Path) -> None:
    (folder / "dog").mkdir()
    assert run("search", "dog", "videos", *umt.flags, "--json").exit_code == 0
