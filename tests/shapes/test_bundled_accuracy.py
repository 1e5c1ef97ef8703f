"""The bundled weights know as much as is written down of them."""

import json
from pathlib import Path

import pytest

from vidtldr.bench.trained_shapes import load_shapes
from vidtldr.bundled import BUNDLED
from vidtldr.shapes.exam import distinct_clips, encode_clips, encode_with, examine
from vidtldr.shapes.world import ShapesWorld

RECORDED = Path(__file__).resolve().parents[2] / "benchmarks" / "results" / "03_training.json"
# The same clips and weights: processors round differently, and so a clip in a hundred may change.
ALLOWED = 1.0


@pytest.mark.slow
def test_the_bundled_model_is_as_accurate_on_fresh_clips_as_recorded() -> None:
    recorded = json.loads(RECORDED.read_text(encoding="utf-8"))["fresh"]
    model = load_shapes(BUNDLED / "model.safetensors")
    world = ShapesWorld(recorded["seed"], recorded["split"])
    indices = distinct_clips(world, recorded["num_clips"])
    result = examine(model, encode_clips(encode_with(model), world, indices))
    for name in ("text_to_video_r1", "video_to_text_r1", "answering", "labels"):
        assert getattr(result, name) == pytest.approx(recorded[name], abs=ALLOWED), name
