"""A clip, a tiny model that merges in it, and the report of both."""

import json
import re
from dataclasses import dataclass, replace
from typing import Any

import torch
from support.tiny_models import spread_out_weights, videomae
from support.tiny_umt import TINY
from torch import Tensor, nn

from vidtldr.config import MergeConfig
from vidtldr.models.umt import build_vision_encoder
from vidtldr.patch.twin import merged_twin
from vidtldr.video.transform import Region
from vidtldr.visualize.feature_colours import cosine_kept, features_to_rgb
from vidtldr.visualize.observe import Observation, observe
from vidtldr.visualize.report_facts import Answer, Report, Side
from vidtldr.visualize.tiles import make_tiles

R = (16, 8)
HEIGHT, WIDTH = 60, 80
#: No two sides have an answer's score, a cost or a time in common.
ANSWERS = {
    "unmerged": [Answer("a cat & a dog", "61.0%"), Answer("rain", "9.0%")],
    "vid-TLDR": [Answer("a cat & a dog", "58.0%"), Answer("snow", "8.0%")],
    "ToMe": [Answer("wind", "47.0%"), Answer("rain", "7.0%")],
}
FLOPS_A_TOKEN = {"unmerged": 12 * 10**6, "vid-TLDR": 11 * 10**6, "ToMe": 13 * 10**6}
TIMES_MS = {"unmerged": [9.0, 6.0, 6.5], "vid-TLDR": [4.0, 2.0, 3.0], "ToMe": [5.5, 5.0, 4.5]}


@dataclass(frozen=True, repr=False)
class Scene:
    """Frames (T, H, W, 3), and what the unmerged, the merged and the other model did."""

    frames: Tensor
    seen: dict[str, Observation]

    def side(self, name: str, title: str) -> Side:
        num_tokens = self.seen[name].num_tokens
        flops = [tokens * FLOPS_A_TOKEN[name] for tokens in num_tokens]
        layers = self.seen[name].layers
        return Side(title, "", ANSWERS[name], num_tokens, sum(flops), flops, TIMES_MS[name], layers)

    def report(self, **other: Any) -> Report:
        height, width = self.frames.shape[1:3]
        features = [self.seen[name].features for name in ("unmerged", "vid-TLDR")]
        values: dict[str, Any] = {
            "video": "clip.mp4",
            "asked": "Likeliest of 2 labels",
            "facts": [("Model", "tiny"), ("Schedule", "r = 16, 8"), ("Device", "cpu, float32")],
            "notes": [],
            "unmerged": self.side("unmerged", "Unmerged"),
            "merged": self.side("vid-TLDR", "vid-TLDR"),
            "rival": self.side("ToMe", "ToMe"),
            "grid": self.seen["vid-TLDR"].grid,
            "tiles": make_tiles(self.frames, Region(0, 0, height, width), 288),
            "times_seconds": [0.5 * i for i in range(len(self.frames))],
            "features": features_to_rgb(*features),
            "cosine_kept": cosine_kept(*features),
            "shown_layer": 1,
        }
        return Report(**values | other)


def frames_of(num_frames: int, height: int = HEIGHT, width: int = WIDTH) -> Tensor:
    """A bright square that moves over a slope, uint8."""
    down, across = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    slope = torch.stack([down * 2, across, down + across], dim=-1) % 200
    frames = slope.to(torch.uint8).repeat(num_frames, 1, 1, 1)
    for t in range(num_frames):
        frames[t, height // 4 : height // 2, 4 * t : 4 * t + width // 4] = 240
    return frames


def forward(model: nn.Module, pixel_values: Tensor) -> Any:
    return model(pixel_values)


def scene_of(model: nn.Module, pixel_values: Tensor, r: tuple[int, ...] = R) -> Scene:
    models = {
        "unmerged": model,
        "vid-TLDR": merged_twin(model, MergeConfig(r=r, score="sharpness")),
        "ToMe": merged_twin(model, MergeConfig(r=r, score=None, metric="keys")),
    }
    seen = {name: observe(each, pixel_values, forward) for name, each in models.items()}
    return Scene(frames_of(pixel_values.shape[1]), seen)


def videomae_scene() -> Scene:
    """6 frames in 3 tubelets of 4 x 4 patches."""
    pixel_values = torch.randn(1, 6, 3, 32, 32, generator=torch.Generator().manual_seed(3))
    return scene_of(videomae(), pixel_values)


def large_umt_scene() -> Scene:
    """As many patches as a UMT of 16 frames of 224 has, of few channels."""
    config = replace(
        TINY,
        image_size=224,
        patch_size=16,
        num_frames=16,
        hidden_size=24,
        num_layers=3,
        num_heads=3,
    )
    model = spread_out_weights(build_vision_encoder(config))
    pixel_values = torch.randn(1, 16, 3, 224, 224, generator=torch.Generator().manual_seed(3))
    return scene_of(model, pixel_values, (800, 200, 100))


def data_of(page: str) -> dict[str, Any]:
    """What a page's script draws from."""
    found = re.search(r'<script id="data" type="application/json">(.*?)</script>', page, re.DOTALL)
    assert found is not None
    return json.loads(found[1])
