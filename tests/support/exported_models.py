"""Small models for exporters: every family, its inputs by number of clips, and what to merge.

Three layers: two that merge and score, one that counts by mass.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from support import tiny_duals, tiny_encoders, tiny_models
from support.exporters import Inputs
from support.tiny_encoders import images
from torch import Tensor, nn

LAYERS = {"num_hidden_layers": 3}
R = [5, 4]


@dataclass(frozen=True)
class Case:
    """A model and how it is called.

    Attributes:
        build: Makes it.
        inputs: Its inputs for a number of clips and a seed.
        config: Fields of `MergeConfig` beside `r`.
    """

    build: Callable[[], nn.Module]
    inputs: Callable[[int, int], Inputs]
    config: dict[str, Any] = field(default_factory=dict)


def _of_videos(name: str, **config: Any) -> Case:
    def build() -> nn.Module:
        model: nn.Module = getattr(tiny_models, name)(**LAYERS)
        return model

    return Case(build, lambda batch, seed: {"pixel_values": tiny_models.clips(batch, seed)}, config)


def _encoder(name: str, settings: dict[str, Any] | None = None, **config: Any) -> Case:
    def build() -> nn.Module:
        model: nn.Module = getattr(tiny_encoders, name)(**LAYERS | (settings or {}))
        return model

    def inputs(batch: int, seed: int) -> Inputs:
        return tiny_encoders.inputs_of(build(), batch, seed)

    return Case(build, inputs, config)


def _naflex() -> Case:
    """Without the mask of patches, which an exporter could not read."""
    case = _encoder("siglip2")

    def inputs(batch: int, seed: int) -> Inputs:
        return case.inputs(batch, seed) | {"pixel_attention_mask": None}  # type: ignore[dict-item]

    return Case(case.build, inputs)


def _dual(build: Callable[[], nn.Module], num_words: int) -> Case:
    """A dual encoder and as many texts as images."""

    def inputs(batch: int, seed: int) -> Inputs:
        generator = torch.Generator().manual_seed(seed)
        ids = torch.randint(2, num_words, (batch, 6), generator=generator)
        return {"input_ids": ids, "pixel_values": images(batch, seed)}

    return Case(build, inputs)


def _xclip_model() -> Case:
    def inputs(batch: int, seed: int) -> Inputs:
        ids = torch.tensor([[97, 5, 6, 98], [97, 7, 8, 98]])
        pixel_values = images(2 * batch, seed).unflatten(0, (batch, 2))
        return {"input_ids": ids, "pixel_values": pixel_values}

    return Case(lambda: tiny_encoders.xclip_model(**LAYERS), inputs)


def umt_encoder() -> nn.Module:
    """27 tokens of 3 frames."""
    from support.tiny_umt import TINY, spread_weights

    from vidtldr.models.umt import build_vision_encoder

    model: nn.Module = spread_weights(build_vision_encoder(TINY), seed=5)
    return model


class TensorsOnly(nn.Module):
    """A vision encoder of UMT, whose output, a named tuple, exporters cannot save."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, pixel_values: Tensor) -> tuple[Tensor, ...]:
        return tuple(x for x in self.encoder(pixel_values) if x is not None)


def _umt(**config: Any) -> Case:
    def inputs(batch: int, seed: int) -> Inputs:
        generator = torch.Generator().manual_seed(seed)
        return {"pixel_values": torch.randn(batch, 3, 3, 12, 12, generator=generator)}

    return Case(lambda: TensorsOnly(umt_encoder()), inputs, config)


_STAGES = {"out_features": ["stage1", "stage3"]}
CASES: dict[str, Case] = {
    "VideoMAE": _of_videos("videomae"),
    "ViViT": _of_videos("vivit"),
    "V-JEPA 2": _encoder("vjepa2"),
    "V-JEPA 2 with predictor": _encoder("vjepa2_model"),
    "TimeSformer": _encoder("timesformer"),
    "X-CLIP": _encoder("xclip"),
    "X-CLIP with text": _xclip_model(),
    "CLIP": _encoder("clip"),
    "CLIP with text": _dual(tiny_duals.clip_model, 512),
    "MetaCLIP 2": _encoder("metaclip2"),
    "SigLIP": _encoder("siglip"),
    "SigLIP with text": _dual(tiny_duals.siglip_model, 64),
    "DINOv2": _encoder("dinov2"),
    "DINOv2 backbone": _encoder("dinov2_backbone", _STAGES),
    "DINOv2 with registers": _encoder("dinov2_registers"),
    "DINOv3": _encoder("dinov3"),
    "DINOv3 backbone": _encoder("dinov3_backbone", _STAGES),
    "ViT": _encoder("vit"),
    "DeiT": _encoder("deit"),
    "UMT": _umt(),
    # What is not the family's default.
    "ViViT on the grid": _of_videos("vivit", output="grid"),
    "SigLIP of tokens": _encoder("siglip", output="tokens"),
    "SigLIP by mass": _encoder("siglip", pooling="mass"),
    "V-JEPA 2 by mass": _encoder("vjepa2", pooling="mass"),
    "DINOv2 by mass": _encoder("dinov2", pooling="mass"),
    "VideoMAE by mass": _of_videos("videomae", pooling="mass"),
    "UMT by mass": _umt(pooling="mass"),
}
#: Of which not even the unmerged model can be exported for any number of clips.
FIXED_ONLY = {"SigLIP 2 NaFlex": _naflex()}
