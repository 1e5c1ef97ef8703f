"""Small encoders of transformers with seeded weights and spread-out attention.

Images have 25 patches of 8 x 8. V-JEPA 2 has clips of 27 patches of 2 x 8 x 8, TimeSformer of three
frames of 25; X-CLIP takes frames in pairs.
"""

from typing import Any

import pytest
import torch
from support.tiny_models import TRANSFORMERS, spread_out_weights
from torch import Tensor, nn

SIZES: dict[str, Any] = {
    "image_size": 40,
    "patch_size": 8,
    "hidden_size": 48,
    "num_hidden_layers": 4,
    "num_attention_heads": 3,
    "intermediate_size": 96,
}


def vit(**config: Any) -> nn.Module:
    from transformers import ViTConfig, ViTForImageClassification

    return spread_out_weights(ViTForImageClassification(ViTConfig(**SIZES | config)))


def deit(**config: Any) -> nn.Module:
    from transformers import DeiTConfig, DeiTForImageClassificationWithTeacher

    return spread_out_weights(DeiTForImageClassificationWithTeacher(DeiTConfig(**SIZES | config)))


def clip(**config: Any) -> nn.Module:
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    settings = SIZES | {"projection_dim": 16} | config
    return spread_out_weights(CLIPVisionModelWithProjection(CLIPVisionConfig(**settings)))


def metaclip2(**config: Any) -> nn.Module:
    from transformers import MetaClip2VisionConfig, MetaClip2VisionModelWithProjection

    settings = SIZES | {"projection_dim": 16} | config
    return spread_out_weights(MetaClip2VisionModelWithProjection(MetaClip2VisionConfig(**settings)))


def siglip(**config: Any) -> nn.Module:
    from transformers import SiglipVisionConfig, SiglipVisionModel

    return spread_out_weights(SiglipVisionModel(SiglipVisionConfig(**SIZES | config)))


def siglip2(**config: Any) -> nn.Module:
    from transformers import Siglip2VisionConfig, Siglip2VisionModel

    settings = {name: value for name, value in SIZES.items() if name != "image_size"}
    settings |= {"num_patches": 36} | config
    return spread_out_weights(Siglip2VisionModel(Siglip2VisionConfig(**settings)))


def xclip(**config: Any) -> nn.Module:
    from transformers import XCLIPVisionConfig, XCLIPVisionModel

    settings = SIZES | {"num_frames": 2} | config
    return spread_out_weights(XCLIPVisionModel(XCLIPVisionConfig(**settings)))


def xclip_model(**config: Any) -> nn.Module:
    from transformers import XCLIPConfig, XCLIPModel

    text = {"hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 3, "vocab_size": 99}
    text |= {"intermediate_size": 96, "bos_token_id": 97, "eos_token_id": 98, "pad_token_id": 1}
    vision = SIZES | {"num_frames": 2, "mit_hidden_size": 32, "mit_intermediate_size": 64} | config
    vision |= {"mit_num_attention_heads": 4}
    heads = {"projection_dim": 32, "prompt_num_attention_heads": 4}
    settings = XCLIPConfig(text_config=text, vision_config=vision, **heads)
    return spread_out_weights(XCLIPModel(settings))


def timesformer(**config: Any) -> nn.Module:
    from transformers import TimesformerConfig, TimesformerForVideoClassification

    settings = SIZES | {"num_frames": 3, "num_labels": 7} | config
    return spread_out_weights(TimesformerForVideoClassification(TimesformerConfig(**settings)))


def dinov2(**config: Any) -> nn.Module:
    from transformers import Dinov2Config, Dinov2ForImageClassification

    return spread_out_weights(Dinov2ForImageClassification(Dinov2Config(**_dino(config))))


def dinov2_registers(**config: Any) -> nn.Module:
    from transformers import Dinov2WithRegistersConfig, Dinov2WithRegistersForImageClassification

    settings = Dinov2WithRegistersConfig(**_dino({"num_register_tokens": 4} | config))
    return spread_out_weights(Dinov2WithRegistersForImageClassification(settings))


def dinov2_backbone(**config: Any) -> nn.Module:
    from transformers import Dinov2Backbone, Dinov2Config

    stages = {"out_features": ["stage1", "stage2", "stage4"]}
    return spread_out_weights(Dinov2Backbone(Dinov2Config(**_dino(stages | config))))


def dinov3(**config: Any) -> nn.Module:
    from transformers import DINOv3ViTConfig, DINOv3ViTModel

    settings = {"num_register_tokens": 4, "layerscale_value": 1.0}
    return spread_out_weights(DINOv3ViTModel(DINOv3ViTConfig(**SIZES | settings | config)))


def dinov3_backbone(**config: Any) -> nn.Module:
    from transformers import DINOv3ViTBackbone, DINOv3ViTConfig

    settings = {"num_register_tokens": 4, "out_features": ["stage1", "stage2", "stage4"]}
    return spread_out_weights(DINOv3ViTBackbone(DINOv3ViTConfig(**SIZES | settings | config)))


def vjepa2_config(**config: Any) -> Any:
    from transformers import VJEPA2Config

    sizes = {"crop_size": 24, "patch_size": 8, "frames_per_clip": 6, "tubelet_size": 2}
    sizes |= {"hidden_size": 48, "num_hidden_layers": 4, "num_attention_heads": 3, "mlp_ratio": 2}
    sizes |= {"pred_hidden_size": 24, "pred_num_attention_heads": 2, "pred_num_hidden_layers": 2}
    return VJEPA2Config(**sizes | {"num_pooler_layers": 1, "num_labels": 5} | config)


def vjepa2(**config: Any) -> nn.Module:
    from transformers import VJEPA2ForVideoClassification

    return spread_out_weights(VJEPA2ForVideoClassification(vjepa2_config(**config)))


def vjepa2_model(**config: Any) -> nn.Module:
    from transformers import VJEPA2Model

    return spread_out_weights(VJEPA2Model(vjepa2_config(**config)))


def internvl(**config: Any) -> nn.Module:
    from transformers import InternVLVisionConfig, InternVLVisionModel

    sizes = SIZES | {"image_size": (40, 40), "patch_size": (8, 8), "layer_scale_init_value": 0.5}
    return spread_out_weights(InternVLVisionModel(InternVLVisionConfig(**sizes | config)))


def idefics3(**config: Any) -> nn.Module:
    from transformers.models.idefics3.modeling_idefics3 import (
        Idefics3VisionConfig,
        Idefics3VisionTransformer,
    )

    return spread_out_weights(Idefics3VisionTransformer(Idefics3VisionConfig(**SIZES | config)))


def smolvlm(**config: Any) -> nn.Module:
    from transformers.models.smolvlm.modeling_smolvlm import (
        SmolVLMVisionConfig,
        SmolVLMVisionTransformer,
    )

    return spread_out_weights(SmolVLMVisionTransformer(SmolVLMVisionConfig(**SIZES | config)))


def inputs_of(model: nn.Module, batch: int = 2, seed: int = 0) -> dict[str, Tensor]:
    """What a model's forward takes, with clips or images that differ."""
    if "videos" in model.main_input_name:
        generator = torch.Generator().manual_seed(seed)
        return {model.main_input_name: torch.randn(batch, 6, 3, 24, 24, generator=generator)}
    if "Timesformer" in type(model).__name__:
        return {"pixel_values": images(3 * batch, seed).unflatten(0, (batch, 3))}
    if "XCLIP" in type(model).__name__:
        return {"pixel_values": images(2 * batch, seed)}
    if "Siglip2" in type(model).__name__:
        patches = images(batch, seed).unfold(2, 8, 8).unfold(3, 8, 8).permute(0, 2, 3, 4, 5, 1)
        shapes = torch.tensor([[5, 5]] * batch)
        pixel_values = patches.reshape(batch, 25, -1)
        return {
            "pixel_values": pixel_values,
            "pixel_attention_mask": torch.ones(batch, 25, dtype=torch.int64),
            "spatial_shapes": shapes,
        }
    if "input_ids" in model.main_input_name:  # a language model's tower
        return {"pixel_values": images(batch, seed)}
    return {model.main_input_name: images(batch, seed)}


def images(batch: int = 2, seed: int = 0, side: int = 40) -> Tensor:
    """Pixel values (B, 3, S, S) of images that differ."""
    return torch.randn(batch, 3, side, side, generator=torch.Generator().manual_seed(seed))


def _dino(config: dict[str, Any]) -> dict[str, Any]:
    if TRANSFORMERS < (5, 18):
        pytest.skip("DINOv2 of transformers before 5.18 is refused")
    sizes = {name: value for name, value in SIZES.items() if name != "intermediate_size"}
    return sizes | {"mlp_ratio": 2} | config
