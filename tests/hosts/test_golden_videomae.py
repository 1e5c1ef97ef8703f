"""The authors' program on a small VideoMAE, against ours."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from support.tiny_models import TRANSFORMERS
from transformers import VideoMAEForVideoClassification

import vidtldr

RUNS = range(4)


@pytest.mark.skipif(TRANSFORMERS < (5, 18), reason="transformers before 5.18 loses biases")
@pytest.mark.parametrize("impl", ["reference", "blocked", "auto"])
@pytest.mark.parametrize("run", RUNS)
def test_videomae_gives_the_authors_numbers(golden: Path, impl: str, run: int) -> None:
    expected = load_file(golden / "videomae" / "expected.safetensors")
    meta = json.loads((golden / "videomae" / "meta.json").read_text())["runs"]
    assert len(meta) == len(RUNS)
    schedule = meta[run]["r"]
    model = VideoMAEForVideoClassification.from_pretrained(golden / "videomae" / "model").eval()
    # Entries below 1 are shares in the authors' program.
    is_ratio = any(0 < entry < 1 for entry in schedule)
    merging = {"ratio" if is_ratio else "r": schedule, "score": "sharpness"}
    with (
        vidtldr.patched(model, impl=impl, **merging),
        vidtldr.trace(model) as trace,
        torch.no_grad(),
    ):
        logits = model(pixel_values=expected["pixel_values"]).logits
        hidden = model.videomae(expected["pixel_values"]).last_hidden_state
    assert trace.num_tokens == meta[run]["tokens_per_layer"]
    assert (hidden - expected[f"run{run}.last_hidden_state"]).abs().max() <= 2e-4
    assert (logits - expected[f"run{run}.logits"]).abs().max() <= 2e-4
    mass = expected.get(
        f"run{run}.mass", torch.ones_like(trace.mass)
    )  # not recorded where none merged
    assert (trace.mass - mass).abs().max() <= 1e-4
