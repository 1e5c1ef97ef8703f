"""Small models with seeded weights whose attention is spread out: default ones are flat."""

import math
from importlib.metadata import version
from typing import Any

import torch
from torch import Tensor, nn

TRANSFORMERS = tuple(map(int, version("transformers").split(".")[:2]))

VIDEO = {"image_size": 32, "num_frames": 6, "hidden_size": 48, "num_hidden_layers": 4}
VIDEO |= {"num_attention_heads": 3, "intermediate_size": 96, "num_labels": 7}


def spread_out_weights(model: nn.Module, seed: int = 0) -> nn.Module:
    """Fill every parameter: attention has peaks, norms and scales matter, nothing is zero."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if parameter.dim() > 1:
                parameter.copy_(noise * 2 / math.sqrt(parameter[0].numel()))
            else:
                is_gain = name.endswith(
                    ("norm.weight", "norm1.weight", "norm2.weight", "gamma")
                ) or ("norm" in name and name.endswith("weight"))
                parameter.copy_(noise * 0.3 + (1.0 if is_gain else 0.0))
    return model.eval()


def videomae(**config: Any) -> nn.Module:
    """48 tokens (3 x 4 x 4), no prefix."""
    from transformers import VideoMAEConfig, VideoMAEForVideoClassification

    settings = VIDEO | {"patch_size": 8, "tubelet_size": 2} | config
    return spread_out_weights(VideoMAEForVideoClassification(VideoMAEConfig(**settings)))


def vivit(**config: Any) -> nn.Module:
    """49 tokens (3 x 4 x 4 and a class token)."""
    from transformers import VivitConfig, VivitForVideoClassification

    settings = VIDEO | {"tubelet_size": [2, 8, 8]} | config
    return spread_out_weights(VivitForVideoClassification(VivitConfig(**settings)))


def clips(batch: int = 2, seed: int = 0) -> Tensor:
    """Pixel values (B, T, 3, S, S) of clips that differ."""
    return torch.randn(batch, 6, 3, 32, 32, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def logits(model: nn.Module, pixel_values: Tensor | None = None) -> Tensor:
    """What a classifier says of these clips, or of `clips()`."""
    return model(pixel_values=clips() if pixel_values is None else pixel_values).logits
