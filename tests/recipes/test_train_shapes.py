"""The recipe of the bundled model, run as a person runs it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from vidtldr.shapes.model import ShapesUMT, shapes_config

RECIPE = Path(__file__).resolve().parents[2] / "recipes" / "train_shapes.py"


def train(out: Path, pretraining: int, *steps: int) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(RECIPE), f"--out={out}", "--batch-size=2", "--exam-clips=4"]
    command += ["--device=cpu", f"--pretraining-steps={pretraining}"]
    command += ["--steps", *map(str, steps)]
    return subprocess.run(command, capture_output=True, text=True, check=True)


@pytest.mark.slow
def test_an_interrupted_training_ends_with_the_weights_of_a_whole_one(tmp_path: Path) -> None:
    train(tmp_path / "whole", 2, 2, 2, 2)
    train(tmp_path / "parts", 2, 2, 2, 2)
    for stage in ("frames8.pt", "frames4.pt"):  # as if it was stopped after the second stage
        (tmp_path / "parts" / stage).unlink()
    train(tmp_path / "parts", 2, 2, 2, 2)
    whole, parts = (load_file(tmp_path / run / "model.safetensors") for run in ("whole", "parts"))
    assert whole.keys() == parts.keys()
    for name, value in whole.items():
        assert torch.equal(value, parts[name]), name


@pytest.mark.slow
def test_the_recipe_writes_a_model_and_a_log(tmp_path: Path) -> None:
    train(tmp_path, 0, 1, 1, 1)
    weights = load_file(tmp_path / "model.safetensors")
    ShapesUMT(shapes_config()).load_state_dict(weights)
    assert all(torch.isfinite(value).all() for value in weights.values())
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    stages = ["frames2", "frames4", "frames4 exam", "frames8", "frames8 exam"]
    assert [line["stage"] for line in lines] == stages
    assert {"contrast", "prompts", "matching", "answers"} <= lines[1].keys()
