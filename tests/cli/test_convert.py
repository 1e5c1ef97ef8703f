import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from click.testing import Result
from support.outcomes import one_error_line, rows
from support.umt_files import UMTFiles
from support.umt_sets import VideoSet

Run = Callable[..., Result]
pytestmark = pytest.mark.usefixtures("one_thread")


def test_a_converted_checkpoint_needs_no_flags(
    run: Run, umt: UMTFiles, films: VideoSet, tmp_path: Path
) -> None:
    directory = tmp_path / "converted"
    result = run("convert", umt.retrieval, directory, *umt.size_flags)
    assert result.exit_code == 0, result.output
    assert result.stdout == f"wrote {directory}: use it as --model umt:{directory}\n"

    def score(*flags: str | Path) -> float:
        result = run("search", "a dog", films.paths[0], "--json", *flags)
        assert result.exit_code == 0, result.output
        return rows(result)[0]["score"]

    def same(value: float) -> object:  # tensors lie elsewhere, so sums may round otherwise
        return pytest.approx(value, abs=1e-5)

    converted, expected = f"--model=umt:{directory}", score(*umt.flags)
    assert score(converted) == same(expected)
    # What it holds may be said again, or come from its file.
    assert score(converted, *umt.size_flags) == same(expected)
    sizes = ("--arch", directory / "config.json", "--tokenizer", directory)
    assert score("--model", f"umt:{umt.retrieval}", *sizes) == same(expected)
    two = score(*umt.flags, "--frames", "2")
    assert abs(two - expected) > 1e-3
    assert score(converted, "--frames", "2") == same(two)
    line = one_error_line(run("search", "dog", films.paths[0], converted, "--arch", "l16"))
    assert "--arch must be left out or equal the sizes in" in line


def test_answering_is_converted_for_its_task(
    run: Run, umt: UMTFiles, films: VideoSet, tmp_path: Path
) -> None:
    directory = tmp_path / "qa"
    flags = (*umt.size_flags, "--task", "answering", "--frames", 2)
    assert run("convert", f"umt:{umt.answering}", directory, *flags).exit_code == 0
    assert json.loads((directory / "config.json").read_text())["config"]["num_frames"] == 2
    arguments = ("ask", films.paths[0], "who?", "--answers", "dog,cat", "--json")
    [row] = rows(run(*arguments, "--model", f"umt:{directory}"))
    assert len(row["answers"]) == 2
    line = one_error_line(run("search", "dog", films.paths[0], "--model", f"umt:{directory}"))
    assert "task must be 'answering'" in line


def test_a_directory_that_lost_something(
    run: Run, umt: UMTFiles, films: VideoSet, tmp_path: Path
) -> None:
    directory = tmp_path / "converted"
    run("convert", umt.retrieval, directory, *umt.size_flags)
    (directory / "tokenizer.json").unlink()
    arguments = ("search", "dog", films.paths[0], "--model", f"umt:{directory}")
    assert "tokenizer must have a vocabulary" in one_error_line(run(*arguments))
    assert run(*arguments, "--tokenizer", umt.tokenizer).exit_code == 0
    (directory / "model.safetensors").unlink()
    line = one_error_line(run(*arguments, "--tokenizer", umt.tokenizer))
    assert "Write one with vidtldr convert." in line
    (directory / "config.json").unlink()
    assert "without config.json" in one_error_line(run(*arguments))


def test_what_cannot_be_converted(run: Run, umt: UMTFiles, tmp_path: Path) -> None:
    line = one_error_line(run("convert", "nowhere.pth", tmp_path / "a", *umt.size_flags))
    assert "CHECKPOINT must be an existing file, got 'nowhere.pth'" in line
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").write_text("mine")
    line = one_error_line(run("convert", umt.retrieval, tmp_path / "full", *umt.size_flags))
    assert "DIRECTORY must be new or empty" in line
    line = one_error_line(run("convert", umt.answering, tmp_path / "b", *umt.size_flags))
    assert "--task answering to vidtldr convert" in line
    assert not (tmp_path / "b").exists()


def test_pickled_code_is_not_run(run: Run, umt: UMTFiles, tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple:
            return (Path.touch, (tmp_path / "exploded",))

    torch.save({"model": {"a": Bomb()}}, tmp_path / "armed.pth")
    line = one_error_line(run("convert", tmp_path / "armed.pth", tmp_path / "a", *umt.size_flags))
    assert "weights must hold tensors only" in line
    assert not (tmp_path / "exploded").exists()
