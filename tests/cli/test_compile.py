"""`--compile`: the same answers as without."""

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import Result
from support.outcomes import one_error_line, rows
from support.pipeline_films import rows_of
from support.tiny_files import VIDEOMAE_PROCESSOR, write_model
from support.tiny_models import videomae
from support.umt_files import UMTFiles
from support.umt_sets import VideoSet

from vidtldr.config import MergeConfig
from vidtldr.pipeline import local
from vidtldr.pipeline.machine import Machine
from vidtldr.pipeline.request import request_for
from vidtldr.store.settings import read_settings
from vidtldr.store.video_index import VideoIndex
from vidtldr.tasks.model_spec import ModelSpec

Run = Callable[..., Result]
pytestmark = pytest.mark.usefixtures("one_thread")
MERGE = ("--r", "20,8")


def both(run: Run, *arguments: str | Path) -> tuple[Result, Result]:
    plain, compiled = run(*arguments), run(*arguments, "--compile")
    assert (plain.exit_code, compiled.exit_code) == (0, 0), compiled.output
    assert "compiled for 1 x" in compiled.stderr
    assert compiled.stderr.count("\n") == 1
    assert " a clip" in compiled.stderr
    return plain, compiled


def popped(row: dict[str, Any]) -> dict[str, Any]:
    """A row without what it says of compiling, which is checked."""
    about = row.pop("compile")
    assert about["is_used"] in (True, False)
    assert min(about["compiled_ms"], about["uncompiled_ms"]) > 0
    return row


@pytest.mark.slow
@pytest.mark.usefixtures("compiler")
def test_classify(run: Run, model: str, video: str) -> None:
    arguments = ("classify", video, "--model", model, "--json", "--r", "9,5")
    (plain,), (compiled,) = map(rows, both(run, *arguments))
    found, expected = (
        {each["label"]: each["probability"] for each in row.pop("labels")}
        for row in (compiled, plain)
    )
    assert found == pytest.approx(expected, abs=1e-5)
    assert popped(compiled) == plain  # tokens, frames and notes


@pytest.mark.slow
@pytest.mark.usefixtures("compiler")
def test_classify_by_texts(run: Run, umt: UMTFiles, films: VideoSet) -> None:
    arguments = ("classify", films.paths[0], *umt.flags, "--labels", "dog,cat", "--json", *MERGE)
    (plain,), (compiled,) = map(rows, both(run, *arguments))
    for one, other in zip(plain.pop("labels"), compiled.pop("labels"), strict=True):
        assert one["label"] == other["label"]
        assert one["probability"] == pytest.approx(other["probability"], abs=1e-4)
    assert popped(compiled) == plain


@pytest.mark.slow
@pytest.mark.usefixtures("compiler")
def test_search(run: Run, umt: UMTFiles, films: VideoSet) -> None:
    paths = [path for path in films.paths if not path.endswith(films.broken)]
    plain, compiled = map(rows, both(run, "search", "a dog", *paths, *umt.flags, "--json", *MERGE))
    for one, other in zip(plain, compiled, strict=True):
        assert one["video"] == other["video"]
        assert other["score"] == pytest.approx(one["score"], abs=1e-5)
        assert other["match_score"] == pytest.approx(one["match_score"], abs=1e-4)


@pytest.mark.slow
@pytest.mark.usefixtures("compiler")
def test_ask(run: Run, umt: UMTFiles, films: VideoSet) -> None:
    arguments = ("ask", films.paths[0], "what is it", *umt.answering_flags, "--answers", "dog,cat")
    (plain,), (compiled,) = map(rows, both(run, *arguments, "--json", *MERGE))
    for one, other in zip(plain["answers"], compiled["answers"], strict=True):
        assert one["answer"] == other["answer"]
        assert one["probability"] == pytest.approx(other["probability"], abs=1e-4)


@pytest.mark.slow
@pytest.mark.usefixtures("compiler")
@pytest.mark.parametrize("is_umt", [True, False])
def test_embed(
    run: Run, umt: UMTFiles, model: str, films: VideoSet, video: str, tmp_path: Path, is_umt: bool
) -> None:
    pq = pytest.importorskip("pyarrow.parquet", reason="pip install 'vidtldr[search]'")
    file = tmp_path / "f.parquet"
    subject = (films.paths[0], *umt.flags, *MERGE) if is_umt else (video, f"--model={model}")
    vectors = []
    for flags in ((), ("--compile",)):
        assert run("embed", *subject, "-o", file, *flags).exit_code == 0
        vectors.append(torch.tensor(pq.read_table(file).to_pylist()[0]["vector"]))
    torch.testing.assert_close(vectors[1], vectors[0], rtol=1e-4, atol=1e-4)


def same_rows(directory: Path, expected: Path) -> None:
    found, plain = rows_of(directory), rows_of(expected)
    assert found.keys() == plain.keys()
    for key, row in found.items():
        ours, theirs = dict(row), dict(plain[key])
        vectors = [torch.tensor(each.pop("vector")) for each in (ours, theirs)]
        torch.testing.assert_close(*vectors, rtol=1e-4, atol=1e-4)
        assert ours == theirs


@pytest.mark.slow
@pytest.mark.usefixtures("compiler")
@pytest.mark.parametrize("engine", ["local", "ray"])
def test_index(
    run: Run,
    umt: UMTFiles,
    films: VideoSet,
    tmp_path: Path,
    engine: str,
    request: pytest.FixtureRequest,
) -> None:
    if engine == "ray":
        request.getfixturevalue("cluster")
    flags = (*umt.flags, *MERGE, "--keep-tokens", "--batch", 2, "--workers", 1, "--device", "cpu")
    plain, mixed = tmp_path / "plain.index", tmp_path / "mixed.index"
    assert run("index", "add", films.directory, "--index", plain, *flags).exit_code == 1
    begun = run("index", "add", films.paths[0], "--index", mixed, *flags)
    assert begun.exit_code == 0, begun.output
    # The model is that of the index; so goes the rest on compiled, and on again without.
    again = ("index", "add", films.directory, "--index", mixed, "--batch", 2, "--device", "cpu")
    result = run(*again, "--json", "--compile", "--engine", engine)
    assert result.stderr.startswith("compiled for 2 x 4 x 3 x"), result.output
    assert result.stderr.count("\n") == 1
    report = json.loads(result.stdout)
    assert (report["num_indexed"], report["num_unchanged"], report["num_failed"]) == (4, 1, 1)
    same_rows(mixed, plain)
    tokens = [VideoIndex(each).tokens(list(rows_of(plain))) for each in (mixed, plain)]
    for key, (x, _) in tokens[0].items():
        np.testing.assert_allclose(x, tokens[1][key][0], rtol=1e-3, atol=1e-3)
    assert read_settings(mixed) == read_settings(plain)
    report = json.loads(run(*again, "--json").stdout)
    assert (report["num_unchanged"], report["num_failed_before"]) == (5, 1)


@pytest.mark.slow
@pytest.mark.usefixtures("compiler")
def test_an_encoder_that_is_killed_compiles_again_and_loses_no_row(
    model: str, films: VideoSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pids: list[int] = []

    class WatchedMachine(Machine):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            pids.extend(self.pids)

    def kill_encoder(_: object) -> None:
        if len(pids) == 2:
            os.kill(pids.pop(), signal.SIGKILL)

    def index(name: str, compile_for: int | None, on_progress: Callable[[object], None]) -> Path:
        wanted = request_for(
            ModelSpec(model, device="cpu"),
            MergeConfig(r=[9, 5]),
            time_limit_seconds=60.0,
            compile_for=compile_for,
            num_workers=1,
            batch_size=2,
        )
        directory, paths = tmp_path / name, films.paths
        pids.clear()
        report = local.index_videos(directory, paths, wanted, gpus=[None], on_progress=on_progress)
        assert report.num_indexed == 5
        return directory

    monkeypatch.setattr(local, "Machine", WatchedMachine)
    plain, killed = index("plain", None, lambda _: None), index("killed", 2, kill_encoder)
    assert len(pids) == 1  # the decoder's
    same_rows(killed, plain)


@pytest.mark.slow
def test_an_index_cannot_be_compiled_for_without_a_compiler(
    run: Run, umt: UMTFiles, films: VideoSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    into = ("--index", tmp_path / "my.index", "--device", "cpu", "--compile", "--r", "2")
    line = one_error_line(run("index", "add", films.directory, *umt.flags, *into))
    assert "--compile must find the C++ compiler 'no-such-compiler'" in line
    assert line.rstrip().endswith("Install g++, or leave out --compile.")
    assert not (tmp_path / "my.index").exists()


def test_the_help_of_an_index_says_what_is_compiled(run: Run) -> None:
    text = " ".join(run("index", "add", "--help").stdout.replace("│", " ").split())
    assert "Each encoder first compiles the model for a full batch" in text
    assert "smaller batches, such as the last, run uncompiled" in text


def test_a_comparison_cannot_be_compiled(run: Run, model: str, video: str) -> None:
    flags = ("--model", model, "--r", "9,5", "--compare", "--compile")
    line = one_error_line(run("classify", video, *flags))
    assert "--compile must be left out with --compare" in line
    assert line.rstrip().endswith("with vidtldr bench latency --compile.")


@pytest.mark.parametrize("command", ["classify", "embed"])
def test_a_processor_that_keeps_the_shape_of_videos_cannot_be_compiled_for(
    run: Run, video: str, tmp_path: Path, command: str
) -> None:
    processor = {name: value for name, value in VIDEOMAE_PROCESSOR.items() if name != "crop_size"}
    processor["do_center_crop"] = False
    directory = write_model(tmp_path / "model", videomae(), processor)
    output = ("-o", tmp_path / "f.parquet") if command == "embed" else ()
    line = one_error_line(run(command, video, "--model", directory, "--compile", *output))
    assert "--compile must be used where all clips get one size" in line
    assert line.rstrip().endswith("Add it, or leave out --compile.")
