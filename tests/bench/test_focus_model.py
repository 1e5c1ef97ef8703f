"""The published weights, in the environment of `make test-real`."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from vidtldr.bench.dense_model import load_focus_model
from vidtldr.bench.focus_weights import focus_file
from vidtldr.bench.picture_files import BUNDLED_PHOTOS, find_pictures
from vidtldr.bench.pictures import read_picture

pytestmark = pytest.mark.real


@torch.inference_mode()
def test_maps_are_those_of_the_published_graph() -> None:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(focus_file()), providers=["CPUExecutionProvider"])
    model = load_focus_model(focus_file(), 224)
    files = find_pictures(None, None)[:2]
    pixels = torch.cat([read_picture(file, 224, 1).pixel_values for file in files])
    [expected] = session.run(["output_importance"], {"input_image": pixels.numpy()})
    found = model(pixels).maps
    assert expected.max() - expected.min() > 0.5  # it sees something
    torch.testing.assert_close(found, torch.from_numpy(expected)[:, 0], rtol=0, atol=2e-5)


@torch.inference_mode()
def test_another_size_is_what_the_model_makes_of_it_by_itself() -> None:
    """Positions that were interpolated once equal those interpolated in every forward."""
    small, trained = (load_focus_model(focus_file(), side) for side in (140, 518))
    pixels = torch.randn(1, 3, 140, 140)
    features = trained.backbone(pixels).last_hidden_state[:, 1:]
    assert torch.equal(small(pixels).features, features)
    assert small.side == 140


def test_a_run_on_its_photos(tmp_path: Path) -> None:
    """In a process of its own, as it is typed."""
    output = tmp_path / "dense.json"
    command = [sys.executable, "-m", "vidtldr", "bench", "dense", "--side", "140"]
    command += ["--methods", "vid-TLDR,random merging", "--budgets", "0.6", "--first-layers", "0"]
    done = subprocess.run([*command, "-o", output], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    report = json.loads(output.read_text())
    assert report["pictures"] == sorted(BUNDLED_PHOTOS)
    ours, random = (row["figures"] for row in report["rows"])
    assert ours["feature_distance"]["mean"] < 0.5 * random["feature_distance"]["mean"]
    assert ours["agreement"]["mean"] > random["agreement"]["mean"]
    assert report["rows"][0]["flop_ratio"] <= 0.6
