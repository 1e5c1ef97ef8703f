"""A small model of every family that needs neither timm nor open_clip, with its inputs."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import torch
from support import tiny_encoders, tiny_internvideo2, tiny_models, tiny_qwen, tiny_towers
from support.exporters import flat
from support.tiny_encoders import images
from support.tiny_umt import TINY
from torch import Tensor, nn

from vidtldr.models.umt.vision import VisionEncoder


@dataclass(frozen=True)
class Family:
    """A family's small model and what its forward takes."""

    build: Callable[[], nn.Module]
    inputs: Callable[[], dict[str, Tensor]]


def umt() -> nn.Module:
    return tiny_models.spread_out_weights(VisionEncoder(TINY))


def _encoder(name: str) -> Family:
    build = getattr(tiny_encoders, name)
    return Family(build, lambda: tiny_encoders.inputs_of(build()))


def _qwen(name: str) -> Family:
    return Family(partial(tiny_qwen.tower, name), lambda: tiny_qwen.patches([(2, 4, 6)]))


_ENCODERS = {
    "V-JEPA 2": "vjepa2",
    "TimeSformer": "timesformer",
    "X-CLIP": "xclip",
    "CLIP": "clip",
    "MetaCLIP 2": "metaclip2",
    "SigLIP": "siglip",
    "SigLIP 2 NaFlex": "siglip2",
    "DINOv2": "dinov2",
    "DINOv2 with registers": "dinov2_registers",
    "DINOv3": "dinov3",
    "ViT": "vit",
    "DeiT": "deit",
    "InternVL": "internvl",
    "Idefics 3": "idefics3",
    "SmolVLM": "smolvlm",
}
FAMILIES: dict[str, Family] = {
    "VideoMAE": Family(tiny_models.videomae, lambda: {"pixel_values": tiny_models.clips()}),
    "ViViT": Family(tiny_models.vivit, lambda: {"pixel_values": tiny_models.clips()}),
    **{family: _encoder(name) for family, name in _ENCODERS.items()},
    "Idefics 2": Family(
        lambda: tiny_towers.idefics2()[0].model.vision_model, lambda: {"pixel_values": images()}
    ),
    **{name: _qwen(name) for name in tiny_qwen.MODULES},
    "UMT": Family(umt, lambda: {"pixel_values": tiny_internvideo2.clips()}),
    "InternVideo2": Family(
        tiny_internvideo2.internvideo2, lambda: {"pixel_values": tiny_internvideo2.clips()}
    ),
    "InternVideo2, published": Family(
        tiny_internvideo2.published, lambda: {"x": tiny_internvideo2.clips().transpose(1, 2)}
    ),
}


def outputs(model: nn.Module, inputs: Mapping[str, Tensor]) -> list[Tensor]:
    """Every tensor of an output, for inputs in the dtype of the model's floating-point weights."""
    dtype = next(p.dtype for p in model.parameters() if p.is_floating_point())
    with torch.no_grad():
        return flat(
            model(**{k: x.to(dtype) if x.is_floating_point() else x for k, x in inputs.items()})
        )


def equal(one: list[Tensor], other: list[Tensor]) -> bool:
    return len(one) == len(other) and all(map(torch.equal, one, other))


def largest_difference(one: list[Tensor], other: list[Tensor]) -> float:
    """Of all elements, as a share of the largest one in its tensor."""
    return max(
        ((a - b).abs().max() / b.abs().max()).item() for a, b in zip(one, other, strict=True)
    )
