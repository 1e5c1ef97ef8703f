"""DINOv3 of transformers: a class token, register tokens, and rotary positions of patches.

By default it passes on the grid, as DINOv2 does.
"""

import sys
from collections.abc import Mapping
from typing import Any, Self

from torch import Tensor

from vidtldr.hosts.dinov2 import Dinov2Host
from vidtldr.hosts.host import Attend, Attended, BlockSizes, join_heads, split_heads

__all__ = ["DINOv3Host"]


class DINOv3Host(Dinov2Host):
    """`DINOv3ViTModel`, `DINOv3ViTBackbone` and whatever holds one of them."""

    family = "DINOv3 (transformers)"
    modeling = "transformers.models.dinov3_vit.modeling_dinov3_vit"
    prefix = "DINOv3ViT"
    is_rotary = True
    grid_classes = (f"{modeling}.DINOv3ViTModel",)
    grid_only_classes = (f"{modeling}.DINOv3ViTBackbone",)

    @classmethod
    def of(cls, root: Any) -> Self:
        """The host of that module."""
        num_prefix = 1 + root.config.num_register_tokens
        rope = root.rope_embeddings
        num_patches = rope.num_patches_h * rope.num_patches_w
        return cls(root, root.model.layer, num_prefix, num_prefix + num_patches)

    @staticmethod
    def attention_half(block: Any, x: Tensor, attend: Attend) -> Attended:
        """`DINOv3ViTLayer.forward` up to the first residual."""
        attention = block.attention
        y = block.norm1(x)
        q, k, v = (
            split_heads(project(y), attention.num_heads)
            for project in (attention.q_proj, attention.k_proj, attention.v_proj)
        )
        attended = attend(q, k, v, scale=attention.scaling)
        y = block.layer_scale1(attention.o_proj(join_heads(attended.x)))
        return Attended(block.drop_path(y) + x, attended.score, k)

    @classmethod
    def rotate(
        cls, block: Any, q: Tensor, k: Tensor, places: Tensor, inputs: Mapping[str, Any]
    ) -> tuple[Tensor, Tensor]:
        """Turn by the angles of each place; class and register tokens have none."""
        cos, sin = inputs["position_embeddings"]  # (number of patches, D)
        num_prefix = 1 + block.attention.config.num_register_tokens
        patches = places[:, num_prefix:] - num_prefix
        apply = sys.modules[cls.modeling].apply_rotary_pos_emb
        turned: tuple[Tensor, Tensor] = apply(q, k, cos[patches][:, None], sin[patches][:, None])
        return turned

    @staticmethod
    def sizes(block: Any) -> BlockSizes:
        """Heads of its attention, and its MLP."""
        attention = block.attention
        return BlockSizes(attention.num_heads, attention.head_dim, (block.mlp,))

    @staticmethod
    def attention_dropout(block: Any) -> float:
        """`attention_dropout` of the config."""
        return float(block.attention.dropout)
