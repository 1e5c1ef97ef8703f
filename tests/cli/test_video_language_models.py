"""Video language models: `ask` with all of one, other commands with its tower."""

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result
from support import tiny_chat
from support.film import write_film
from support.outcomes import one_error_line, rows

Run = Callable[..., Result]
QUESTION = "word3 word4"
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("chat") / "llava"
    tiny_chat.write_llava(directory)
    return directory


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_film(tmp_path_factory.mktemp("films") / "[red]film.mp4", 12)


def test_an_answer_and_its_row(run: Run, model: Path, film: Path) -> None:
    flags = ("--model", model, "--frames", 3, "--max-tokens", 5)
    result = run("ask", film, QUESTION, *flags)
    assert result.exit_code == 0, result.output
    assert "--flop-ratio 0.6 would save" in result.stderr
    title, *lines = result.stdout.splitlines()
    assert title == QUESTION
    [row] = rows(run("ask", film, QUESTION, *flags, "--json"))
    assert row["answer"].split() == " ".join(lines).split()
    assert len(row["answer"].split()) <= 5
    assert (row["video"], row["question"], row["error"]) == (str(film), QUESTION, None)
    assert row["num_tokens"] == [26] * 4
    assert len(row["frame_indices"]) == 3


def test_a_comparison(run: Run, model: Path, film: Path) -> None:
    flags = ("--model", model, "--frames", 3, "--max-tokens", 5, "--compare", "--rounds", 2)
    schedule = ("--r", "12,4")
    [row] = rows(run("ask", film, QUESTION, *flags, *schedule, "--json"))
    assert row["unmerged"]["num_tokens"] == [26] * 4
    assert row["merged"]["num_tokens"] == row["num_tokens"] == [14, 10, 10, 10]
    assert row["answer"] == row["merged"]["answer"]
    assert row["same_answer"] == (row["answer"] == row["unmerged"]["answer"])
    for side in (row["unmerged"], row["merged"]):
        assert 0 < side["tower_ms"] < side["slowest_ms"]
        assert side["language_ms"] > 0
        assert side["peak_memory_bytes"] > 0
    assert row["merged"]["gflops"] < row["unmerged"]["gflops"]
    result = run("ask", film, QUESTION, *flags, *schedule)
    for words in ("in the vision tower", "in the language model", "26 x4", "14 10 x3", "answer"):
        assert words in result.stdout


def test_what_the_model_says_is_hostile_text(
    run: Run, model: Path, film: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vidtldr.tasks.video_language import FreeAnswer, VideoLanguageModel

    said = FreeAnswer("[bold]red\x1b[2J\nand " + "blue " * 40, [26])
    monkeypatch.setattr(VideoLanguageModel, "answer", lambda *_: said)
    result = run("ask", film, f"{QUESTION} [red]", "--model", model)
    title, first, second = result.stdout.splitlines()  # neither joined nor cut at a width
    assert (title, first) == (f"{QUESTION} [red]", "[bold]red\\x1b[2J")
    assert second.split() == ["and", *["blue"] * 40]


def test_a_broken_video_is_exit_code_1(run: Run, model: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video")
    result = run("ask", broken, QUESTION, "--model", model)
    assert result.exit_code == 1
    assert result.stdout.startswith("1 of 1 video failed:")
    [row] = rows(run("ask", broken, QUESTION, "--model", model, "--json"))
    assert row["answer"] is None
    assert "cannot read its content" in row["error"]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--answers", "a,b"], "--answers must come with a UMT model"),
        (["--top", "3"], "--top must come with a UMT model"),
        (["--cache", "kept"], "--cache must come with a UMT model"),
        (["--compile"], "--compile must come with a UMT model"),
        (["--rounds", "3"], "--rounds must come with --compare, got 3 alone"),
        (["--r", "13"], r"--r[0] must be in [0, 12]"),
        (["--preset", "umt-b16/msrvtt-qa"], "--preset must come with --model umt:CHECKPOINT"),
        (["--arch", "b16"], "--arch must come with --model umt:CHECKPOINT"),
    ],
)
def test_what_does_not_fit_is_one_line(
    run: Run, model: Path, film: Path, flags: list[str], message: str
) -> None:
    assert message in one_error_line(run("ask", film, QUESTION, "--model", model, *flags))


@pytest.mark.parametrize("flags", [["--compare"], ["--max-tokens", "5"]])
def test_umt_answers_from_a_list_only(run: Run, film: Path, flags: list[str]) -> None:
    line = one_error_line(run("ask", film, QUESTION, *flags))
    assert f"{flags[0]} must come with a video language model of transformers" in line


@pytest.mark.parametrize("question", ["", "  ", "\n"])
def test_an_empty_question_is_refused(run: Run, model: Path, film: Path, question: str) -> None:
    assert "QUESTION must be words, got" in one_error_line(
        run("ask", film, question, "--model", model)
    )


def test_a_special_token_in_the_question_is_refused(run: Run, model: Path, film: Path) -> None:
    line = one_error_line(run("ask", film, "what <image>", "--model", model))
    assert "QUESTION must not contain '<image>', a special token of the model" in line


def test_show_draws_its_tower(run: Run, model: Path, film: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    result = run("show", film, "--model", model, "--frames", 3, "--r", "12,4", "-o", page)
    assert result.exit_code == 0, result.output
    assert "78 tokens became 30 (38%)" in " ".join(result.stdout.split())
    assert page.stat().st_size > 1000


def test_embed_takes_the_mean_of_what_the_language_model_reads(
    run: Run, model: Path, film: Path, tmp_path: Path
) -> None:
    import pyarrow.parquet as pq
    import torch

    from vidtldr.tasks.model_spec import ModelSpec
    from vidtldr.tasks.video_language import load_video_language_model
    from vidtldr.video.decode import read_clip
    from vidtldr.video.sampling import Sampling

    out = tmp_path / "vectors.parquet"
    assert run("embed", film, "--model", model, "--frames", 3, "-o", out).exit_code == 0
    [row] = pq.read_table(out).to_pylist()
    loaded = load_video_language_model(ModelSpec(str(model), frames=3))
    inputs = loaded.inputs(read_clip(film, Sampling(3)), QUESTION)
    with torch.no_grad():
        tokens = loaded.model.model.get_image_features(inputs["pixel_values"]).pooler_output
    expected = torch.cat(list(tokens)).mean(dim=0)
    found = torch.tensor(row["vector"])
    assert torch.allclose(found, expected, atol=2e-2)  # its Pillow resizes otherwise than torch
    assert torch.nn.functional.cosine_similarity(found, expected, dim=0) > 0.999


@pytest.mark.slow
def test_tune_works_on_its_tower(
    run: Run, model: Path, film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    other = tmp_path / "other.mp4"
    write_film(other, 12, first_number=50)
    result = run(
        "tune", film, other, "--model", model, "--drift-by", "feature-cosine", "--frames", 2
    )
    assert result.exit_code == 0, result.output
    assert "random dropping" not in result.stdout  # the language model reads every place
    assert (tmp_path / "merge_config.json").exists()
