"""The vision tower of InternVL in transformers: a class token, layer scales, sometimes RMS norms.

The model around it takes the square root of the number of tokens for the side of their grid, so a
merged square number would be laid out wrongly in silence: the tower passes on the grid by default,
and inside the model always.
"""

from typing import Any, ClassVar, Self

from torch import Tensor, nn

from vidtldr.hosts.host import Attend, Attended, BlockSizes, Host, is_a, join_heads, split_heads

__all__ = ["InternVLHost"]

_MODELING = "transformers.models.internvl.modeling_internvl"


class InternVLHost(Host):
    """`InternVLVisionModel` and whatever holds one, such as `InternVLForConditionalGeneration`."""

    family = "InternVL (transformers)"
    grid_classes: ClassVar[tuple[str, ...]] = (f"{_MODELING}.InternVLVisionModel",)

    @staticmethod
    def matches(module: nn.Module) -> bool:
        """Whether the module is the vision tower."""
        return is_a(module, f"{_MODELING}.InternVLVisionModel")

    @classmethod
    def of(cls, root: Any) -> Self:
        """The host of that tower."""
        num_patches = root.embeddings.patch_embeddings.num_patches
        return cls(root, root.encoder.layer, 1, 1 + num_patches)

    @staticmethod
    def attention_half(block: Any, x: Tensor, attend: Attend) -> Attended:
        """The layer's forward up to the first residual."""
        attention = block.attention
        y = block.layernorm_before(x)
        # The norms of queries and keys are over all channels, before these become heads.
        projected = (
            attention.q_norm(attention.q_proj(y)),
            attention.k_norm(attention.k_proj(y)),
            attention.v_proj(y),
        )
        q, k, v = (split_heads(each, attention.num_heads) for each in projected)
        attended = attend(q, k, v, scale=attention.scale)
        y = attention.projection_dropout(attention.projection_layer(join_heads(attended.x)))
        return Attended(block.lambda_1 * y + x, attended.score, k)

    @staticmethod
    def mlp_half(block: Any, x: Tensor) -> Tensor:
        """The layer's forward from the first residual on."""
        y: Tensor = block.lambda_2 * block.dropout(block.mlp(block.layernorm_after(x))) + x
        return y

    @staticmethod
    def walked_around(block: Any) -> dict[str, nn.Module]:
        """The layer and its attention."""
        return {
            f"{_MODELING}.InternVLVisionLayer": block,
            f"{_MODELING}.InternVLVisionAttention": block.attention,
        }

    @staticmethod
    def sizes(block: Any) -> BlockSizes:
        """Heads of its attention, and its MLP."""
        attention = block.attention
        return BlockSizes(attention.num_heads, attention.head_dim, (block.mlp,))

    @staticmethod
    def attention_dropout(block: Any) -> float:
        """`attention_dropout` of the config."""
        return float(block.attention.attention_dropout)
