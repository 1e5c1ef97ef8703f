"""Outputs never destroy what exists: inputs, other outputs, devices, pipes, links."""

import inspect
import io
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
import typer
from click.testing import Result
from support.outcomes import one_error_line
from support.umt_files import UMTFiles
from support.umt_sets import VideoSet

from vidtldr.cli.main import app
from vidtldr.cli.output_options import Reads, Writes
from vidtldr.config import MergeConfig

Run = Callable[..., Result]
pytestmark = pytest.mark.usefixtures("one_thread")
SENTINEL = b"precious\nthings"
WRITTEN = {"output", "plot", "report", "images", "video_file"}
NO_FILE = {
    "autocast",
    "average",
    "baselines",
    "batches",
    "budgets",
    "device",
    "dtype",
    "dtypes",
    "first_layers",
    "format_name",
    "frames",
    "linkage",
    "merge_layers",
    "methods",
    "metric",
    "pooling",
    "preset",
    "protocol",
    "question",
    "questions",
    "r",
    "ratio",
    "scaling",
    "score",
    "seeds",
    "sizes",
    "split",
    "target",
    "template",
    "text",
    "tokens",
}


def commands_that_write() -> Iterator[tuple[str, inspect.Signature]]:
    apps: list[tuple[str, typer.Typer]] = [("", app)]
    apps += [(str(group.name), group.typer_instance) for group in app.registered_groups]
    for group, each in apps:
        for command in each.registered_commands:
            signature = inspect.signature(command.callback)
            if WRITTEN & set(signature.parameters):
                yield f"{group} {command.name or command.callback.__name__}", signature


def test_every_option_that_names_a_file_to_write_is_marked() -> None:
    for _, signature in commands_that_write():
        for parameter in signature.parameters.values():
            about = get_args(parameter.annotation)
            is_marked = any(isinstance(each, Writes) for each in about)
            assert is_marked == (parameter.name in WRITTEN - {"images"}), parameter.name


def test_every_option_that_names_an_input_is_marked() -> None:
    unmarked, names = set(), []
    for name, signature in commands_that_write():
        names.append(name.strip())
        for parameter in signature.parameters.values():
            kind, *about = get_args(parameter.annotation)
            is_text = any(text in str(kind) for text in ("str", "Path", "Literal"))
            if is_text and not any(isinstance(each, Reads) for each in about):
                unmarked.add(parameter.name)
    assert unmarked - WRITTEN == NO_FILE
    assert {"embed", "show", "tune", "index export", "bench paths"} < set(names)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with everything that commands read, each file with the same content."""
    for name in ("a.mp4", "w.pth", "s.json", "arch.json", "labels.txt", "ann.json", "ans.json"):
        (tmp_path / name).write_bytes(SENTINEL)
    for folder in ("model", "vocabulary", "videos", "x.index"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "config.json").write_bytes(SENTINEL)
    (tmp_path / "videos" / "film.mp4").write_bytes(SENTINEL)
    (tmp_path / "film.json").symlink_to("videos/film.mp4")
    (tmp_path / "ann.json").write_text('[{"video": "film.mp4", "question": "?", "answer": "a"}]')
    (tmp_path / "ans.json").write_text('["a", "b"]')
    (tmp_path / "dangling").symlink_to("nowhere")
    (tmp_path / "loop.json").symlink_to("loop.json")
    (tmp_path / "link.html").symlink_to("a.mp4")
    (tmp_path / "link.json").symlink_to("w.pth")
    (tmp_path / "link.parquet").symlink_to("model/config.json")
    monkeypatch.chdir(tmp_path)
    return tmp_path


UMT = "--model umt:w.pth --labels a,b"
EVALUATE = "evaluate answering --annotations ann.json --answers ans.json --videos videos"


@pytest.mark.parametrize(
    ("command", "rule"),
    [
        (f"show a.mp4 {UMT} --r 2 -o link.html", "overwrite an input"),
        ("show a.mp4 --r 2 --video a.mp4", "overwrite an input"),
        ("show a.mp4 --r 2 --images . --video features.png", "must end in .mp4 or .gif"),
        ("embed a.mp4 --model umt:w.pth -o model", "must be a file"),
        ("embed a.mp4 --model umt:w.pth -o w.pth", "must end in .parquet"),
        ("embed a.mp4 --model umt:model -o link.parquet", "inside what is read"),
        ("embed a.mp4 --model model -o model/new.parquet", "inside what is read"),
        ("embed a.mp4 --model umt:w.pth --tokenizer vocabulary -o vocabulary/x", "inside what"),
        ("embed a.mp4 -o x.csv", "must end in .parquet"),
        ("index export x.index -o x.index/rows.parquet", "inside what is read"),
        ("index export x.index -o a.mp4", "must end in .parquet"),
        (f"{EVALUATE} --model umt:w.pth -o link.json", "overwrite an input"),
        (f"{EVALUATE} --model umt:w.pth -o ans.json", "overwrite an input"),
        (f"{EVALUATE} --model umt:w.pth -o ann.json", "overwrite an input"),
        (f"{EVALUATE} --cache videos -o videos/result.json", "inside what is read"),
        ("bench latency --model umt:w.pth --arch arch.json -o arch.json", "overwrite an input"),
        ("bench latency --model umt:w.pth -o link.json", "overwrite an input"),
        ("bench latency --report x.html -o x.csv", "must end in .json"),
        ("bench memory --plot -", "--plot must name two files"),
        ("bench quality --weights w.pth -o link.json", "overwrite an input"),
        ("bench saliency --weights w.pth -o link.json", "overwrite an input"),
        ("bench paths -o nowhere/x.json", "existing, writable directory"),
        ("tune a.mp4 --model umt:w.pth -o link.json", "overwrite an input"),
        (f"{EVALUATE} --model umt:w.pth -o film.json", "overwrite an input"),
        ("bench paths -o new.json/", "must be a file, got the directory 'new.json/'"),
        ("tune a.mp4 --report link.html/", "must be a file, got the directory"),
        ("show a.mp4 --images=", "--images must be a path, got ''"),
        ("bench paths -o loop.json", "must be a path that can exist"),
        (f"bench paths -o {'n' * 300}.json", f"'{'n' * 60}...' (file name too long)"),
        ("convert umt:model model/new --tokenizer vocabulary", "DIRECTORY must not be inside what"),
        ("convert w.pth vocabulary/new --tokenizer vocabulary", "DIRECTORY must not be inside"),
        ("convert w.pth -", "DIRECTORY must be a directory, got '-'"),
        ("convert w.pth dangling", "a link to nothing"),
        ("convert w.pth loop.json", "DIRECTORY must be a path that can exist"),
        ("convert w.pth a.mp4/x", "got 'a.mp4/x' in"),
        ("shapes export dangling", "a link to nothing"),
        ("shapes export -", "DIRECTORY must be a directory, got '-'"),
        ("shapes export a.mp4/x", "must be in a directory that you may write"),
        ("index add a.mp4 --index -", "--index must be a directory, got '-'"),
        ("index add a.mp4 --index=", "--index must be a path, got ''"),
        (
            "index add a.mp4 --index vocabulary/x --tokenizer vocabulary",
            "--index must not be inside",
        ),
        ("tune a.mp4 --model umt:w.pth --drift-by labels=ans.json -o ans.json", "overwrite an in"),
    ],
)
def test_nothing_that_is_read_is_written_over(
    run: Run, place: Path, command: str, rule: str
) -> None:
    before = {file: file.read_bytes() for file in place.rglob("*") if file.is_file()}
    assert rule in one_error_line(run(*command.split()))
    assert {file: file.read_bytes() for file in place.rglob("*") if file.is_file()} == before


def test_a_schedule_is_not_written_over(run: Run, place: Path) -> None:
    schedule = Path("s.json")
    schedule.write_text('{"r": [2]}')
    arguments = ("bench", "latency", "--schedule", schedule, "-o", schedule)
    assert "overwrite an input" in one_error_line(run(*arguments))


def test_a_folder_with_a_schedule_may_take_results_in_place_of_anything_but_it(
    run: Run, place: Path
) -> None:
    folder = place / "chosen"
    MergeConfig(r=[2]).save_pretrained(folder)
    before = (folder / "merge_config.json").read_bytes()
    latency = ("bench", "latency", "--schedule", folder, "-o")
    assert "overwrite an input" in one_error_line(run(*latency, folder / "merge_config.json"))
    assert (folder / "merge_config.json").read_bytes() == before
    beside = (*latency, folder / "times.json", "--batches", "none")
    assert "--batches must be" in one_error_line(run(*beside))


def test_a_folder_of_results_may_have_the_name_of_a_model_or_split(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in ("videomae-b", "test"):
        (tmp_path / folder).mkdir()
    flags = ("--model", "videomae-b", "--batches", "none", "-o", "videomae-b/x.json")
    assert "--batches must be" in one_error_line(run("bench", "latency", *flags))
    flags = ("--split", "test", "--weights", "no.pth", "-o", "test/x.json")
    assert "no.pth" in one_error_line(run("bench", "saliency", *flags))


def test_the_bundled_model_is_not_written_over(run: Run) -> None:
    from vidtldr.bundled import BUNDLED

    line = one_error_line(run("bench", "paths", "-o", BUNDLED / "merge.json"))
    assert "inside what is read" in line


@pytest.mark.parametrize("name", ["a\nb", "a\x1b[31mb"])
def test_a_converted_directory_of_any_name_is_named_safely(
    run: Run, umt: UMTFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    result = run("convert", umt.retrieval, name, *umt.size_flags)
    assert result.exit_code == 0, result.output
    assert all(line.isprintable() for line in result.stdout.splitlines())
    assert len(result.stdout.splitlines()) == 1


@pytest.mark.parametrize("name", ["a\nb", "umt", "file/x"])
def test_a_place_where_no_index_can_be_is_refused_before_the_model_is_loaded(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    pytest.importorskip("lancedb", reason="pip install 'vidtldr[search]'")
    monkeypatch.chdir(tmp_path)
    for file in ("film.mp4", "file"):
        Path(file).write_bytes(SENTINEL)
    Path("umt").mkdir()
    Path("umt/w.pth").write_bytes(SENTINEL)
    monkeypatch.setattr("vidtldr.pipeline.local.index_videos", None)
    line = one_error_line(run("index", "add", "film.mp4", "--index", name))
    assert "index must be" in line
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "film.mp4", "umt"]


def read_in_background(pipe: Path) -> tuple[threading.Thread, list[bytes]]:
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.append(pipe.read_bytes()), daemon=True)
    reader.start()
    return reader, got


def test_embed_writes_to_a_pipe(run: Run, umt: UMTFiles, films: VideoSet, tmp_path: Path) -> None:
    pq = pytest.importorskip("pyarrow.parquet", reason="pip install 'vidtldr[search]'")
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader, got = read_in_background(pipe)
    result = run("embed", films.paths[0], *umt.flags, "-o", pipe)
    assert result.exit_code == 0, result.output
    reader.join(timeout=30)
    assert pipe.is_fifo()
    assert pq.read_table(io.BytesIO(got[0])).num_rows == 1


@pytest.mark.parametrize(
    "command",
    [
        "bench paths --tokens 8 --heads 1 --channels 4 --dtypes float32 --rounds 1 -o -",
        "bench paths --tokens 8 --heads 1 --channels 4 --dtypes float32 --rounds 1 -o - --json",
    ],
)
def test_a_dash_is_standard_output_and_text_moves_aside(tmp_path: Path, command: str) -> None:
    arguments = [sys.executable, "-m", "vidtldr", *command.split()]
    done = subprocess.run(arguments, capture_output=True, text=True, check=True, cwd=tmp_path)
    report: dict[str, Any] = json.loads(done.stdout)
    assert report["rows"]
    assert done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_embed_and_index_export_write_parquet_to_standard_output(
    films: VideoSet, tmp_path: Path
) -> None:
    pq = pytest.importorskip("pyarrow.parquet", reason="pip install 'vidtldr[search]'")
    pytest.importorskip("lancedb", reason="pip install 'vidtldr[search]'")
    video = str(films.directory / films.good[0])
    add = ["index", "add", video, "--index", "my.index", "--workers", "1", "--device", "cpu"]
    for command in (["embed", video, "-o", "-"], add, ["index", "export", "my.index", "-o", "-"]):
        arguments = [sys.executable, "-m", "vidtldr", *command]
        done = subprocess.run(arguments, capture_output=True, check=True, cwd=tmp_path)
        if command is not add:
            assert pq.read_table(io.BytesIO(done.stdout)).num_rows == 1
    assert [path.name for path in tmp_path.iterdir()] == ["my.index"]


@pytest.mark.parametrize("output", ["-", "/dev/null"])
def test_the_trials_of_tune_lie_beside_the_default_schedule(output: str) -> None:
    from vidtldr.cli.tune.command import TuneFiles

    files = TuneFiles(output=Path(output))
    assert files.trials == Path("merge_config.trials.jsonl")
    assert files.results(as_json=False).plot == Path("merge_config.json")
