"""Every score, weighting and metric in every engine."""

from pathlib import Path
from typing import Any

import pytest
import torch
from support.exporters import EXPORTERS, flat
from support.tiny_models import clips, videomae

import vidtldr
from vidtldr.config import SCORES

pytestmark = pytest.mark.export
for package in ("onnx", "onnxscript", "onnxruntime", "openvino"):
    pytest.importorskip(package, reason=f"{package} is in the environment of `make test-export`")

CONFIGS: list[dict[str, Any]] = [
    *({"score": score} for score in SCORES),
    {"linkage": "cosine"},
    {"score": "sharpness", "weighting": "saliency"},
    {"score": "sharpness", "weighting": "mask"},
    {"score": "sharpness", "linkage": "ward", "protect": 0.5, "spare_norms": 1.02},
    {"metric": "keys"},
    {"impl": "reference"},
    {"impl": "blocked"},
    {"ratio": [0.2, 0.1]},
]


@pytest.mark.parametrize("exporter", ["torch.export", "onnx", "openvino"])
@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_every_choice_of_the_method_runs_elsewhere(
    exporter: str, config: dict[str, Any], tmp_path: Path
) -> None:
    settings = config if "ratio" in config else {"r": [9, 5], **config}
    model = vidtldr.apply_patch(videomae(num_hidden_layers=3), **settings)
    with torch.no_grad():
        run = EXPORTERS[exporter](model, {"pixel_values": clips()}, True, tmp_path)
        for batch in (1, 4):
            inputs = {"pixel_values": clips(batch, seed=5)}
            for found, expected in zip(run(inputs), flat(model(**inputs)), strict=True):
                torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)


@pytest.mark.slow
@pytest.mark.usefixtures("compiler")
@pytest.mark.parametrize("exporter", ["aoti", "openvino of a program"])
@pytest.mark.parametrize("score", ["sharpness", "received"])
def test_programs_run_in_other_engines(exporter: str, score: str, tmp_path: Path) -> None:
    model = vidtldr.apply_patch(videomae(num_hidden_layers=3), r=[9, 5], score=score)
    with torch.no_grad():
        run = EXPORTERS[exporter](model, {"pixel_values": clips()}, True, tmp_path)
        for batch in (2, 4):
            inputs = {"pixel_values": clips(batch, seed=5)}
            for found, expected in zip(run(inputs), flat(model(**inputs)), strict=True):
                torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)
