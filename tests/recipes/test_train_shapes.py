"""The recipe of the bundled model, run as a person runs it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from vidtldr.shapes.model import ShapesUMT, shapes_config

RECIPE = Path(__file__).resolve().parents[2] / "recipes" / "shapes" / "train.py"


def command(out: Path, pretraining: int, *steps: int) -> list[str]:
    command = [sys.executable, str(RECIPE), f"--out={out}", "--batch-size=4", "--exam-clips=4"]
    command += ["--device=cpu", f"--pretraining-steps={pretraining}"]
    return [*command, "--steps", *map(str, steps)]


def train(out: Path, pretraining: int, *steps: int) -> None:
    subprocess.run(command(out, pretraining, *steps), capture_output=True, check=True)


def stop_train_after(stage: str, out: Path, pretraining: int, *steps: int) -> None:
    """Kill it when the log says so."""
    whole = command(out, pretraining, *steps)
    with subprocess.Popen(whole, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert any(f'"{stage}"' in line for line in process.stdout)
        process.kill()


@pytest.mark.slow
def test_an_interrupted_training_ends_with_the_weights_of_a_whole_one(tmp_path: Path) -> None:
    train(tmp_path / "whole", 2, 1, 2, 1, 2)
    stop_train_after("texts4 exam", tmp_path / "parts", 2, 1, 2, 1, 2)
    assert not (tmp_path / "parts" / "model.safetensors").exists()
    train(tmp_path / "parts", 2, 1, 2, 1, 2)
    whole, parts = (load_file(tmp_path / run / "model.safetensors") for run in ("whole", "parts"))
    assert whole.keys() == parts.keys()
    for name, value in whole.items():
        assert torch.equal(value, parts[name]), name


@pytest.mark.slow
def test_the_recipe_writes_a_model_and_a_log(tmp_path: Path) -> None:
    train(tmp_path, 0, 1, 1, 1, 1)
    weights = load_file(tmp_path / "model.safetensors")
    ShapesUMT(shapes_config()).load_state_dict(weights)
    assert all(torch.isfinite(value).all() for value in weights.values())
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    stages = ["objects1", "objects8", "texts4", "texts4 exam", "texts8", "texts8 exam"]
    assert [line["stage"] for line in lines] == stages
    assert {"words", "vectors", "patch_shape", "patch_motion"} <= lines[1].keys()
    assert {"contrast", "prompts", "matching", "answers"} <= lines[2].keys() - lines[1].keys()


def test_a_batch_without_another_clip_is_refused(tmp_path: Path) -> None:
    whole = [sys.executable, str(RECIPE), f"--out={tmp_path}", "--batch-size=3"]
    done = subprocess.run(whole, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "--batch-size must be at least 4, got 3" in done.stderr
