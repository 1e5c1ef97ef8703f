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


def train(out: Path, **steps: int) -> subprocess.CompletedProcess[str]:
    sizes = [f"--{name.replace('_', '-')}={value}" for name, value in steps.items()]
    command = [sys.executable, str(RECIPE), f"--out={out}", *sizes, "--batch-size=2"]
    command += ["--exam-clips=4", "--device=cpu"]
    return subprocess.run(command, capture_output=True, text=True, check=True)


@pytest.mark.slow
def test_an_interrupted_training_ends_with_the_weights_of_a_whole_one(tmp_path: Path) -> None:
    steps = {"pretraining_steps": 2, "short_steps": 2, "steps": 2}
    train(tmp_path / "whole", **steps)
    train(tmp_path / "parts", **steps)
    for stage in ("long.pt", "short.pt"):  # as if it was stopped after the first stage
        (tmp_path / "parts" / stage).unlink()
    train(tmp_path / "parts", **steps)
    whole, parts = (load_file(tmp_path / run / "model.safetensors") for run in ("whole", "parts"))
    assert whole.keys() == parts.keys()
    for name, value in whole.items():
        assert torch.equal(value, parts[name]), name


@pytest.mark.slow
def test_the_recipe_writes_a_model_and_a_log(tmp_path: Path) -> None:
    train(tmp_path, pretraining_steps=0, short_steps=1, steps=1)
    weights = load_file(tmp_path / "model.safetensors")
    ShapesUMT(shapes_config()).load_state_dict(weights)
    assert all(torch.isfinite(value).all() for value in weights.values())
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["stage"] for line in lines] == ["short", "short exam", "long", "long exam"]
    assert {"contrast", "prompts", "matching", "answers"} <= lines[0].keys()
