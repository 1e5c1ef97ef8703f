import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from cli.outcomes import one_error_line
from cli.umt_files import UMTFiles
from click.testing import Result
from tasks.umt_sets import CONFIG, VideoSet

from vidtldr.cli.index_options import parse_seconds
from vidtldr.hosts.config import MergeConfig
from vidtldr.models.umt import load_umt
from vidtldr.tasks.clip_reader import umt_reader
from vidtldr.tasks.search import search_videos
from vidtldr.tasks.video_features import VideoEncoding

Run = Callable[..., Result]
TEXT = "a dog runs"
FEW = ("--workers", 1, "--batch", 2, "--device", "cpu")
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def made(umt: UMTFiles, films: VideoSet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index of the films, with tokens, and what was printed when it was made."""
    from typer.testing import CliRunner

    from vidtldr.cli.main import app

    directory = tmp_path_factory.mktemp("made")
    flags = [*umt.flags, "--r", "20,8", "--keep-tokens", *map(str, FEW), "--json"]
    command = ["index", "add", str(films.directory), "--into", str(directory / "my.index")]
    result = CliRunner().invoke(app, [*command, *flags])
    assert result.exit_code == 1, result.output
    report = json.loads(result.stdout)
    assert (report["num_files"], report["num_indexed"], report["num_failed"]) == (6, 5, 1)
    return directory / "my.index"


def test_status_says_what_is_in_it(run: Run, made: Path) -> None:
    about = json.loads(run("index", "status", made, "--json", "--failures").stdout)
    assert (about["num_videos"], about["num_rows"], about["num_failures"]) == (5, 5, 1)
    assert about["model"].startswith("umt:/")
    assert about["schedule"] == "r=20,8"
    assert about["bytes"] > 10_000
    assert about["ann_recall"] is None
    assert [Path(each["video"]).name for each in about["failures"]] == ["broken.mp4"]


@pytest.mark.parametrize("columns", ["60", "120"])
def test_status_as_a_person_reads_it(
    run: Run, made: Path, columns: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    monkeypatch.chdir(made.parent)
    text = run("index", "status", made.name).stdout
    assert text.splitlines()[0].strip() == "my.index"
    lines = [line.split() for line in text.splitlines()]
    assert ["videos", "5"] in lines
    assert ["failures", "1", "(--failures", "lists", "them)"] in lines
    assert ["rows", "5", "of", "12", "channels,", "with", "tokens"] in lines
    assert max(map(len, text.splitlines())) <= int(columns)


def test_a_search_in_it_finds_what_a_search_in_the_files_finds(
    run: Run, made: Path, umt: UMTFiles, films: VideoSet
) -> None:
    model = load_umt(umt.retrieval, config=CONFIG, tokenizer=umt.tokenizer)
    encoding = VideoEncoding(model, umt_reader(CONFIG), MergeConfig(r=[20, 8]))
    for rerank in (0, 2, 128):
        result = run("search", TEXT, "--in", made, "--json", "--rerank", rerank)
        assert result.exit_code == 0, result.output
        found = [json.loads(line) for line in result.stdout.splitlines()]
        expected = [
            hit for hit in search_videos(encoding, TEXT, films.paths, rerank=rerank) if hit.rank
        ]
        for row, hit in zip(found, expected, strict=True):
            assert (row["video"], row["rank"]) == (hit.path, hit.rank)
            assert row["score"] == pytest.approx(hit.score, abs=1e-5)
            assert row["match_score"] == pytest.approx(hit.match_score, abs=5e-3)
            assert (row["start_seconds"], row["end_seconds"]) == (0, pytest.approx(hit.seconds))


def test_a_video_is_most_like_itself_and_a_filter_leaves_it_out(
    run: Run, made: Path, films: VideoSet
) -> None:
    video = films.paths[0]
    result = run("search", "--like", video, "--in", made, "--json", "--top", 2)
    first, second = (json.loads(line) for line in result.stdout.splitlines())
    assert first["video"] == video
    assert second["score"] < first["score"] <= 1
    assert first["score"] == pytest.approx(1, abs=1e-5)
    where = f"path <> '{video}'"
    result = run("search", "--like", video, "--in", made, "--json", "--filter", where)
    assert video not in {json.loads(line)["video"] for line in result.stdout.splitlines()}
    result = run("search", TEXT, "--in", made, "--filter", "seconds > 1e6")
    assert result.stdout.startswith("nothing found")


@pytest.mark.parametrize("columns", ["60", "120"])
def test_the_table_of_a_search(
    run: Run, made: Path, films: VideoSet, columns: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    monkeypatch.chdir(films.directory)
    result = run("search", TEXT, "--in", made, "--top", 2)
    head, first, second = result.stdout.splitlines()
    assert head.split() == ["rank", "match", "cosine", "video"]
    assert (first.split()[0], second.split()[0]) == ("1", "2")
    assert "film" in first
    assert max(map(len, result.stdout.splitlines())) <= int(columns)


def test_verify_export_and_a_second_writer(
    run: Run, made: Path, films: VideoSet, tmp_path: Path
) -> None:
    result = run("index", "verify", made)
    assert result.exit_code == 0
    assert "is sound: 5 rows of 5 videos, 1 failures" in " ".join(result.stdout.split())
    result = run("index", "export", made, "-o", tmp_path / "rows.parquet")
    assert "5 rows of 12 channels" in " ".join(result.stdout.split())
    from vidtldr.store.writer_lock import WriterLock

    with WriterLock(made):
        assert json.loads(run("index", "status", made, "--json").stdout)["is_being_written"]
        line = one_error_line(run("index", "add", films.directory, "--into", made, *FEW))
        assert "an index must have one writer at a time" in line


def test_a_later_run_takes_model_and_schedule_of_the_index(
    run: Run, made: Path, films: VideoSet
) -> None:
    result = run("index", "add", films.directory, "--into", made, *FEW, "--json")
    assert result.exit_code == 1
    report = json.loads(result.stdout)
    assert (report["num_unchanged"], report["num_failed_before"]) == (5, 1)
    assert report["num_indexed"] == report["num_failed"] == 0


def test_another_schedule_is_refused_with_the_reason(
    run: Run, made: Path, umt: UMTFiles, films: VideoSet
) -> None:
    flags = (*umt.flags, "--r", "20", *FEW)
    line = one_error_line(run("index", "add", films.directory, "--into", made, *flags))
    assert "schedule must be r=20,8 as in all rows of the index" in line
    assert "got r=20." in line


def test_what_does_not_go_together_is_said(run: Run, made: Path, films: VideoSet) -> None:
    video = films.paths[0]
    for arguments, words in (
        ((TEXT,), f"TEXT and VIDEO must be given, got the text {TEXT!r} alone"),
        ((TEXT, video, "--in", made), "VIDEO must be left out with --in"),
        ((TEXT, "--like", video, "--in", made), "TEXT or --like must be given with --in, got both"),
        (("--in", made), "got neither"),
        ((TEXT, video, "--filter", "seconds > 5"), "--filter must come with --in INDEX"),
        ((TEXT, "--in", made, "--cache", "c"), "--cache must be left out with --in"),
        ((TEXT, "--in", made, "--compile"), "--compile must be left out with --in"),
        (("--like", video, "--in", made, "--rerank", 3), "--rerank must be left out with --like"),
        ((TEXT, "--in", made, "--filter", "nothing > 5"), "filter must be a condition on the"),
        ((TEXT, "--in", made.parent), "made by vidtldr index add"),
    ):
        assert words in one_error_line(run("search", *arguments)), arguments


def test_sources_and_lengths_are_checked_before_anything_heavy(run: Run, tmp_path: Path) -> None:
    into = ("--into", tmp_path / "my.index")
    for arguments, words in (
        ((tmp_path / "nowhere", *into), "source must be a folder, file, pattern or list"),
        ((tmp_path, *into), "source must have videos in it"),
        ((tmp_path, *into, "--segment", "ten"), "--segment must be a length above 0, got 'ten'"),
        ((tmp_path, *into, "--model", "umt:nowhere"), "a file or directory that is there"),
    ):
        assert words in one_error_line(run("index", "add", *arguments))
    assert not (tmp_path / "my.index").exists()


def test_prune_removes_what_is_gone_but_not_a_whole_disk(
    run: Run, umt: UMTFiles, films: VideoSet, tmp_path: Path
) -> None:
    import shutil

    folder = tmp_path / "videos"
    shutil.copytree(films.directory, folder)
    into = tmp_path / "my.index"
    assert run("index", "add", folder, "--into", into, *umt.flags, *FEW).exit_code == 1
    os.remove(folder / films.good[0])
    result = run("index", "prune", into, "--dry-run")
    assert result.stdout.splitlines()[0] == str(folder / films.good[0])
    assert "1 of 6 files would be removed" in result.stdout
    assert "1 of 6 files removed" in run("index", "prune", into).stdout
    assert json.loads(run("index", "status", into, "--json").stdout)["num_videos"] == 4
    shutil.rmtree(folder)
    line = one_error_line(run("index", "prune", into))
    assert "with all 5 gone. Bring back their disk, or add --all." in line
    assert "5 of 5 files removed" in run("index", "prune", into, "--all").stdout


@pytest.mark.parametrize(
    ("typed", "seconds"), [("10s", 10), ("10", 10), ("1.5m", 90), ("2h", 7200), (".5s", 0.5)]
)
def test_lengths(typed: str, seconds: float) -> None:
    assert parse_seconds("--segment", typed) == seconds
    with pytest.raises(ValueError, match="--segment must be a length above 0"):
        parse_seconds("--segment", f"-{typed}")
