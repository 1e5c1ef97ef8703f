"""`--compile`: the same answers as without."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from cli.outcomes import one_error_line, rows
from cli.umt_files import UMTFiles
from click.testing import Result
from tasks.umt_sets import VideoSet
from tiny_files import VIDEOMAE_PROCESSOR, write_model
from tiny_models import videomae

Run = Callable[..., Result]
pytestmark = pytest.mark.usefixtures("one_thread")
MERGE = ("--r", "20,8")


def both(run: Run, *arguments: str | Path) -> tuple[Result, Result]:
    plain, compiled = run(*arguments), run(*arguments, "--compile")
    assert (plain.exit_code, compiled.exit_code) == (0, 0), compiled.output
    assert "compiled for 1 x" in compiled.stderr
    assert compiled.stderr.count("\n") == 1
    return plain, compiled


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
    assert compiled == plain  # tokens, frames and notes


@pytest.mark.slow
@pytest.mark.usefixtures("compiler")
def test_classify_by_texts(run: Run, umt: UMTFiles, films: VideoSet) -> None:
    arguments = ("classify", films.paths[0], *umt.flags, "--labels", "dog,cat", "--json", *MERGE)
    (plain,), (compiled,) = map(rows, both(run, *arguments))
    for one, other in zip(plain.pop("labels"), compiled.pop("labels"), strict=True):
        assert one["label"] == other["label"]
        assert one["probability"] == pytest.approx(other["probability"], abs=1e-4)
    assert compiled == plain


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
