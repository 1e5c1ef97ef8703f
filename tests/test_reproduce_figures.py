"""docs/reproduce.md: its FLOPs and standard errors, computed again."""

import re
from math import sqrt
from typing import Any

import pytest
import torch
from support.shown_pages import DOCS
from torch import Tensor, nn

import vidtldr
from vidtldr.measure.flops import count_flops

TEXT = (DOCS / "reproduce.md").read_text()


def test_the_standard_errors_are_those_of_the_formula() -> None:
    [table] = re.findall(r"^\| set \| n \|.*?\n\n", TEXT, re.MULTILINE | re.DOTALL)
    found = 0
    for line in table.strip().splitlines()[2:]:
        _, _, n, errors, _ = line.split("|")
        [num_videos] = re.findall(r"[\d,]+", n)
        for error, percent in re.findall(r"([\d.]+) at ([\d.]+)", errors):
            p = float(percent) / 100
            expected = 100 * sqrt(p * (1 - p) / int(num_videos.replace(",", "")))
            assert float(error) == pytest.approx(expected, rel=0.03), line
            found += 1
    assert found == 6


@pytest.mark.parametrize(
    ("row", "schedules"),
    [
        ("VideoMAE-B", {"150 per layer": "0.41", "0.392": "0.39"}),
        ("ViViT-B", {"300 per layer": "0.40", "0.406": "0.41"}),
        ("V-JEPA 2 L", {"0.6": "0.60"}),
        ("SigLIP 2 B", {"0.8": "0.80"}),
    ],
)
def test_the_flops_are_those_of_models_of_full_size(row: str, schedules: dict[str, str]) -> None:
    """Built without weights, on the meta device."""
    with torch.device("meta"):
        model, pixels = _full_size(row)
    with torch.inference_mode():
        gflops = count_flops(lambda: model(pixels)) / 1e9
    shown = re.findall(rf"^\| {row},.*?\| ([\d,]+) \| ([\d,]+) \| ([\d.]+) \|", TEXT, re.MULTILINE)
    assert shown
    for clips, per_clip, petaflops in shown:
        assert float(per_clip.replace(",", "")) == pytest.approx(gflops, rel=0.02)
        total = gflops * int(clips.replace(",", "")) / 1e6
        assert float(petaflops) == pytest.approx(total, rel=0.03)
    for schedule, share in schedules.items():
        options: dict[str, Any] = {"flop_ratio": float(schedule)} if "." in schedule else {}
        if not options:
            [counts] = {*re.findall(rf"--r ({schedule[:3]},[\d,]+)", TEXT)}
            options = {"r": [*map(int, counts.split(","))], "score": None, "metric": "keys"}
        vidtldr.apply_patch(model, **options)
        assert f"{vidtldr.describe(model).flop_ratio:.2f}" == share
        assert re.search(rf"{schedule}`? \|.*\| {share} \|", TEXT)


def _full_size(row: str) -> tuple[nn.Module, Tensor]:
    from transformers import (
        SiglipVisionConfig,
        SiglipVisionModel,
        VideoMAEConfig,
        VideoMAEForVideoClassification,
        VivitConfig,
        VivitForVideoClassification,
        VJEPA2Config,
        VJEPA2ForVideoClassification,
    )

    if row == "VideoMAE-B":
        model: nn.Module = VideoMAEForVideoClassification(VideoMAEConfig(num_labels=400))
        return model.eval(), torch.empty(1, 16, 3, 224, 224)
    if row == "ViViT-B":
        model = VivitForVideoClassification(VivitConfig(num_labels=400))
        return model.eval(), torch.empty(1, 32, 3, 224, 224)
    if row == "SigLIP 2 B":
        return SiglipVisionModel(SiglipVisionConfig()).eval(), torch.empty(1, 3, 224, 224)
    config = VJEPA2Config(crop_size=256, frames_per_clip=16, num_labels=174)
    return VJEPA2ForVideoClassification(config).eval(), torch.empty(1, 16, 3, 256, 256)
