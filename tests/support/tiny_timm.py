"""Small models of timm and open_clip: 25 patches of 8 x 8, four blocks of three heads."""

from typing import Any

from support.tiny_models import spread_out_weights
from torch import nn

SIZES: dict[str, Any] = {"img_size": 40, "patch_size": 8, "embed_dim": 48, "depth": 4}
SIZES |= {"num_heads": 3, "mlp_ratio": 2.0, "num_classes": 5}

#: Settings as timm's published models of these names have them.
DINOV2 = {"init_values": 1.0, "reg_tokens": 4, "no_embed_class": True}
SIGLIP = {"class_token": False, "global_pool": "map"}
ROTARY = {"use_rot_pos_emb": True}
EVA02 = {"swiglu_mlp": True, "scale_mlp": True, "qkv_fused": False, "ref_feat_shape": (16, 16)}
EVA02 |= ROTARY
DINOV3 = {"rope_type": "dinov3", "rope_rotate_half": True, "num_reg_tokens": 4, "init_values": 1.0}
DINOV3 |= {"use_abs_pos_emb": False, "no_embed_class": True, **ROTARY}
PERCEPTION_ENCODER = {"attn_type": "rope", "rope_grid_indexing": "xy", "rope_grid_offset": 1.0}
PERCEPTION_ENCODER |= {"use_pre_transformer_norm": True, "global_pool": "map", **ROTARY}
ROPE_MIXED = {"rope_type": "mixed", "attn_type": "rope", "init_values": 1.0, **ROTARY}


def vit(**config: Any) -> nn.Module:
    """timm's `VisionTransformer`."""
    from timm.models.vision_transformer import VisionTransformer

    return spread_out_weights(VisionTransformer(**SIZES | config))


def eva(**config: Any) -> nn.Module:
    """timm's `Eva`."""
    from timm.models.eva import Eva

    return spread_out_weights(Eva(**SIZES | config))


def open_clip_vit(**config: Any) -> nn.Module:
    """open_clip's own `VisionTransformer`."""
    from open_clip.transformer import VisionTransformer

    sizes: dict[str, Any] = {"image_size": 40, "patch_size": 8, "width": 48, "layers": 4}
    sizes |= {"heads": 3, "mlp_ratio": 2.0, "output_dim": 16, "attn_pooler_heads": 2}
    return spread_out_weights(VisionTransformer(**sizes | config))
