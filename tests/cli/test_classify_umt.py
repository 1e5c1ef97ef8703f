"""`vidtldr classify` with UMT, which takes labels as texts."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from click.testing import Result
from support.outcomes import one_error_line, rows
from support.tiny_files import write_vivit
from support.umt_files import UMTFiles
from support.umt_sets import CONFIG, VideoSet

from vidtldr.config import MergeConfig
from vidtldr.models.umt import UMTRetrieval, load_umt
from vidtldr.tasks.clip_reader import umt_reader
from vidtldr.tasks.video_features import VideoEncoding

Run = Callable[..., Result]


def test_pooling_by_mass_is_for_models_that_pool(
    run: Run, model: str, video: str, tmp_path: Path
) -> None:
    flags = ("classify", video, "--model", write_vivit(tmp_path / "vivit"), "--r", "9")
    line = one_error_line(run(*flags, "--pooling", "mass"))
    assert "pooling must be 'tokens' for VivitForVideoClassification" in line
    flags = ("classify", video, "--model", model, "--r", "9")
    by_mass = rows(run(*flags, "--pooling", "mass", "--json"))
    assert by_mass != rows(run(*flags, "--json"))
    assert rows(run(*flags, "--pooling", "tokens", "--json")) == rows(run(*flags, "--json"))
    refused = run(*flags, "--pooling", "max")
    assert refused.exit_code == 2
    for word in ("--pooling", "'max'", "tokens", "mass"):
        assert word in refused.stderr


def test_umt_classifies_by_the_texts_of_labels(run: Run, umt: UMTFiles, films: VideoSet) -> None:
    labels = ["dog", "cat", "red sign"]
    flags = ["--labels", ",".join(labels), "--top", "3", "--json", "--r", "20,8"]
    result = run("classify", *films.paths, *umt.flags, *flags)
    assert result.exit_code == 1
    model = load_umt(umt.retrieval, config=CONFIG, tokenizer=umt.tokenizer)
    encoding = VideoEncoding(model, umt_reader(CONFIG), MergeConfig(r=[20, 8]))
    for row, path in zip(rows(result), films.paths, strict=True):
        assert row["video"] == path
        features = encoding.encode(path)
        if features.error is not None:
            assert "cannot read its content" in row["error"]
            continue
        assert row["num_tokens"] == [44, 36, 36]
        found = {each["label"]: each["probability"] for each in row["labels"]}
        expected = zero_shot_oracle(model, features.pooled, labels)
        for label, probability in zip(labels, expected.tolist(), strict=True):
            assert found[label] == pytest.approx(probability, abs=1e-5)


def zero_shot_oracle(model: UMTRetrieval, pooled: torch.Tensor, labels: list[str]) -> torch.Tensor:
    with torch.no_grad():
        text = model.embed_text(model.encode_text(*model.tokenizer(labels, 8)))
        video = torch.nn.functional.normalize(model.vision_proj(pooled), dim=-1)
        return (text @ video / model.temp).softmax(0)


def test_umt_is_compared_too(run: Run, umt: UMTFiles, films: VideoSet) -> None:
    flags = ["--labels", "dog,cat", "--json", "--r", "20,8", "--compare", "--rounds", "1"]
    (row,) = rows(run("classify", films.paths[0], *umt.flags, *flags))
    assert row["unmerged"]["num_tokens"] == [64] * 3
    assert row["merged"]["num_tokens"] == [44, 36, 36]
    assert row["merged"]["gflops"] < row["unmerged"]["gflops"]
    (plain,) = rows(run("classify", films.paths[0], *umt.flags, "--labels", "dog,cat", "--json"))
    assert row["unmerged"]["labels"] == plain["labels"]


def test_what_umt_cannot_do_with_labels(run: Run, umt: UMTFiles, films: VideoSet) -> None:
    arguments = ("classify", films.paths[0], *umt.flags)
    assert "--labels must be given with --model umt:" in one_error_line(run(*arguments))
    line = one_error_line(run(*arguments, "--labels", "dog,Dog!"))
    assert "labels must differ for the model, got 'dog' and 'Dog!'" in line


@pytest.mark.parametrize("option", ["arch", "tokenizer", "preset"])
def test_options_of_umt_are_refused_for_a_classifier(
    run: Run, model: str, video: str, option: str
) -> None:
    value = "umt-b16/msvd-qa" if option == "preset" else "x"
    line = one_error_line(run("classify", video, "--model", model, f"--{option}", value))
    assert f"--{option} must come with --model umt:CHECKPOINT, got model {model!r}" in line
