"""`vidtldr classify` with models that are odd, broken or hostile."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from click.testing import Result
from safetensors.torch import load_file, save_file
from support.outcomes import one_error_line, rows
from support.tiny_files import VIDEOMAE_PROCESSOR, write_model, write_videomae, write_vivit
from support.tiny_models import videomae

Run = Callable[..., Result]


@pytest.fixture(scope="module")
def timesformer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of a kind that cannot merge."""
    from transformers import TimesformerConfig, TimesformerForVideoClassification

    config = TimesformerConfig(
        image_size=32, patch_size=8, num_frames=4, hidden_size=24, num_hidden_layers=1,
        num_attention_heads=2, intermediate_size=32, attention_type="joint_space_time",
    )  # fmt: skip
    directory = tmp_path_factory.mktemp("model") / "timesformer"
    return write_model(directory, TimesformerForVideoClassification(config), VIDEOMAE_PROCESSOR)


def test_vivit_is_classified_too(run: Run, tmp_path: Path, video: str) -> None:
    directory = write_vivit(tmp_path / "vivit")
    (row,) = rows(run("classify", video, "--model", directory, "--json", "--r", "9"))
    assert row["num_tokens"] == [40] * 4


@pytest.fixture(scope="module")
def deep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of so many layers that 0.6 of its FLOPs can be reached."""
    directory = tmp_path_factory.mktemp("model") / "deep"
    return write_model(directory, videomae(num_hidden_layers=12), VIDEOMAE_PROCESSOR)


UNMERGED = "note: nothing is merged; --flop-ratio 0.6 would save 40 % of the FLOPs\n"


def test_a_command_that_merges_nothing_says_what_merging_would_save(
    run: Run, video: str, deep: Path, tmp_path: Path
) -> None:
    shallow = tmp_path / "shallow"
    write_model(shallow, videomae(num_hidden_layers=1), VIDEOMAE_PROCESSOR)
    for command in (("classify",), ("embed", "-o", tmp_path / "a.parquet")):
        plain = run(*command, video, video, "--model", deep)
        assert plain.exit_code == 0, plain.output
        assert plain.stderr == UNMERGED
        assert run(*command, video, "--model", deep, "--flop-ratio", "0.6").stderr == ""
        assert run(*command, video, "--model", shallow).stderr == ""  # it cannot save as much


def test_a_comparison_takes_six_tenths_of_the_flops_by_default(
    run: Run, video: str, deep: Path
) -> None:
    flags = ("--model", deep, "--compare", "--rounds", 1, "--json")
    [row] = rows(run("classify", video, *flags))
    [typed] = rows(run("classify", video, *flags, "--flop-ratio", "0.6"))
    assert row["merged"]["num_tokens"] == typed["merged"]["num_tokens"]
    assert 0.5 < row["merged"]["gflops"] / row["unmerged"]["gflops"] <= 0.6


def test_a_model_directory_without_weights_is_a_usage_error(
    run: Run, model: str, video: str, tmp_path: Path
) -> None:
    bare = tmp_path / "bare"
    shutil.copytree(model, bare)
    (bare / "model.safetensors").unlink()
    line = one_error_line(run("classify", video, "--model", bare))
    assert "model must have weights that fit its config" in line


def test_a_truncated_weights_file_is_a_usage_error(
    run: Run, model: str, video: str, tmp_path: Path
) -> None:
    cut = tmp_path / "cut"
    shutil.copytree(model, cut)
    weights = (cut / "model.safetensors").read_bytes()
    (cut / "model.safetensors").write_bytes(weights[: len(weights) // 2])
    assert "model" in one_error_line(run("classify", video, "--model", cut))


def test_a_checkpoint_without_a_head_is_not_answered_with_random_weights(
    run: Run, model: str, video: str, tmp_path: Path
) -> None:
    headless = tmp_path / "headless"
    shutil.copytree(model, headless)
    weights = load_file(headless / "model.safetensors")
    kept = {name: tensor for name, tensor in weights.items() if not name.startswith("classifier")}
    save_file(kept, headless / "model.safetensors", metadata={"format": "pt"})
    line = one_error_line(run("classify", video, "--model", headless))
    assert "model must have all its weights" in line
    assert "classifier.bias" in line


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"id2label": None, "label2id": None}, "classifier.bias is (7,) in the file and (2,) by"),
        ({"intermediate_size": 80}, "intermediate.dense.bias is (96,) in the file and (80,) by"),
        ({"quantization_config": {"quant_method": "x"}}, "is quantized by a method that trans"),
    ],
)
def test_weights_that_do_not_fit_are_named_with_their_shapes(
    run: Run, model: str, video: str, tmp_path: Path, change: dict, message: str
) -> None:
    directory = tmp_path / "odd"
    shutil.copytree(model, directory)
    config = json.loads((directory / "config.json").read_text()) | change
    kept = {name: value for name, value in config.items() if value is not None}
    (directory / "config.json").write_text(json.dumps(kept))
    line = one_error_line(run("classify", video, "--model", directory))
    assert message in line
    assert "above report" not in line


def test_directories_that_are_no_classifier_are_usage_errors(
    run: Run, model: str, video: str, tmp_path: Path
) -> None:
    missing = one_error_line(run("classify", video, "--model", tmp_path / "nowhere"))
    assert "--model must be an existing directory, or OWNER/NAME on the hub" in missing
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "config.json" in one_error_line(run("classify", video, "--model", empty))
    no_processor = tmp_path / "no_processor"
    shutil.copytree(model, no_processor)
    (no_processor / "preprocessor_config.json").unlink()
    assert "preprocessor_config.json" in one_error_line(
        run("classify", video, "--model", no_processor)
    )
    text = tmp_path / "bert"
    text.mkdir()
    (text / "config.json").write_text('{"model_type": "bert"}')
    assert "image or video classifier" in one_error_line(run("classify", video, "--model", text))


def test_a_refused_family_is_a_usage_error_with_the_reason(
    run: Run, video: str, timesformer: Path
) -> None:
    line = one_error_line(run("classify", video, "--model", timesformer, "--r", "1"))
    assert "attention_type must be 'divided_space_time'" in line


def test_timesformer_merges_whole_tubes(run: Run, tmp_path: Path, video: str) -> None:
    from transformers import TimesformerConfig, TimesformerForVideoClassification

    config = TimesformerConfig(
        image_size=32, patch_size=8, num_frames=4, hidden_size=24, num_hidden_layers=2,
        num_attention_heads=2, intermediate_size=32,
    )  # fmt: skip
    classifier = TimesformerForVideoClassification(config)
    directory = write_model(tmp_path / "divided", classifier, VIDEOMAE_PROCESSOR)
    (row,) = rows(run("classify", video, "--model", directory, "--json", "--r", "3"))
    assert row["num_tokens"] == [1 + 4 * 13] * 2


def test_pickled_code_in_a_checkpoint_is_not_run(
    run: Run, model: str, video: str, tmp_path: Path
) -> None:
    class Bomb:
        def __reduce__(self) -> tuple:
            return (Path.touch, (tmp_path / "exploded",))

    armed = tmp_path / "armed"
    shutil.copytree(model, armed)
    (armed / "model.safetensors").unlink()
    torch.save({"classifier.weight": Bomb()}, armed / "pytorch_model.bin")
    result = run("classify", video, "--model", armed)
    assert result.exit_code == 2
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_hidden_layers": 3}, "leaves out"),
        ({"id2label": {str(i): "x" for i in range(1, 8)}}, "id2label must name every class"),
        ({"num_attention_heads": 0}, "model must have"),
        ({"hidden_act": "foo"}, "model must have"),
        ({"num_frames": 0}, "num_frames must"),
        ({"auto_map": {"AutoConfig": "evil.Config"}, "model_type": "evil"}, "never run"),
        ({"num_frames": 10**9}, "num_frames must be at most"),
        ({"num_frames": 10**6}, "a clip must have at most 65536 tokens, got 8000000"),
        ({"image_size": 10**6}, "a clip must have at most 65536 tokens, got 46875000000"),
        ({"image_size": [10**7, 8]}, "image_size must be at most"),
        ({"num_hidden_layers": 10**7}, "num_hidden_layers must be at most 1000"),
        ({"hidden_size": 10**9}, "hidden_size must be at most"),
        ({"num_labels": 10**9}, "num_labels must be at most"),
    ],
)
def test_a_hostile_config_is_one_line(
    run: Run, model: str, video: str, tmp_path: Path, change: dict, message: str
) -> None:
    directory = tmp_path / "hostile"
    shutil.copytree(model, directory)
    config = json.loads((directory / "config.json").read_text()) | change
    (directory / "config.json").write_text(json.dumps(config))
    line = one_error_line(run("classify", video, "--model", directory))
    assert message in line or ("model must have" in line and "at most" not in message)


def test_the_configs_attention_does_not_make_unmerged_slow(
    run: Run, model: str, video: str, tmp_path: Path
) -> None:
    directory = tmp_path / "eager"
    shutil.copytree(model, directory)
    config = json.loads((directory / "config.json").read_text())
    for name in ("attn_implementation", "_attn_implementation"):
        (directory / "config.json").write_text(json.dumps(config | {name: "eager"}))
        arguments = ("--r", "9", "--compare", "--rounds", 1, "--json")
        (row,) = rows(run("classify", video, "--model", directory, *arguments))
        (plain,) = rows(run("classify", video, "--model", model, *arguments))
        peak = row["unmerged"]["peak_memory_bytes"]
        assert peak == plain["unmerged"]["peak_memory_bytes"]


def test_a_family_that_cannot_merge_is_still_classified(
    run: Run, video: str, timesformer: Path
) -> None:
    (row,) = rows(run("classify", video, "--model", timesformer, "--json"))
    assert row["error"] is None
    assert row["num_tokens"] == []


def test_nan_in_the_weights_is_an_error_and_no_answer(run: Run, video: str, tmp_path: Path) -> None:
    directory = write_videomae(tmp_path / "nan")
    weights = load_file(directory / "model.safetensors")
    weights["classifier.weight"][0, 0] = float("nan")
    save_file(weights, directory / "model.safetensors", metadata={"format": "pt"})
    result = run("classify", video, "--model", directory, "--json")
    assert result.exit_code == 1
    assert "the model's logits must be finite" in rows(result)[0]["error"]
