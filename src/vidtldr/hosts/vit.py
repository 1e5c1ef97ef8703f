"""Plain ViT and DeiT of transformers: images, or frames of videos as a batch."""

from typing import Any, ClassVar, Self

from torch import Tensor, nn

from vidtldr.hosts.host import Attend, Attended, BlockSizes, Host, is_a, join_heads, split_heads

__all__ = ["DeiTHost", "ViTHost"]


class ViTHost(Host):
    """`ViTModel` and whatever wraps one, such as `ViTForImageClassification`.

    DeiT and ViViT inherit from it, whose layers have the same modules, and DINOv2, whose attention
    has.
    """

    family = "ViT (transformers)"
    modeling: ClassVar[str] = "transformers.models.vit.modeling_vit"
    prefix: ClassVar[str] = "ViT"
    num_special_tokens: ClassVar[int] = 1
    grid_only_classes: ClassVar[tuple[str, ...]] = (
        "transformers.models.vit.modeling_vit.ViTForMaskedImageModeling",
    )

    @classmethod
    def matches(cls, module: nn.Module) -> bool:
        """Whether the module is the family's model without a head."""
        return is_a(module, f"{cls.modeling}.{cls.prefix}Model")

    @classmethod
    def of(cls, root: Any) -> Self:
        """The host of that model."""
        num_special, num_patches = (
            cls.num_special_tokens,
            root.embeddings.patch_embeddings.num_patches,
        )
        return cls(root, root.layers, num_special, num_special + num_patches)

    @staticmethod
    def attention_half(block: Any, x: Tensor, attend: Attend) -> Attended:
        """The layer's forward up to the first residual."""
        attention = block.attention
        y = block.layernorm_before(x)
        q, k, v = (
            split_heads(project(y), attention.num_attention_heads)
            for project in (attention.q_proj, attention.k_proj, attention.v_proj)
        )
        attended = attend(q, k, v, scale=attention.scaling)
        y = block.dropout(attention.o_proj(join_heads(attended.x)))
        return Attended(y + x, attended.score, k)

    @staticmethod
    def mlp_half(block: Any, x: Tensor) -> Tensor:
        """The layer's forward from the first residual on."""
        y: Tensor = block.dropout(block.mlp(block.layernorm_after(x))) + x
        return y

    @classmethod
    def walked_around(cls, block: Any) -> dict[str, nn.Module]:
        """The layer and its attention."""
        return {
            f"{cls.modeling}.{cls.prefix}Layer": block,
            f"{cls.modeling}.{cls.prefix}Attention": block.attention,
        }

    @staticmethod
    def sizes(block: Any) -> BlockSizes:
        """Heads of its attention, and its MLP."""
        attention = block.attention
        return BlockSizes(attention.num_attention_heads, attention.head_dim, (block.mlp,))

    @staticmethod
    def attention_dropout(block: Any) -> float:
        """`attention_probs_dropout_prob` of the config."""
        return float(block.attention.attention_dropout)


class DeiTHost(ViTHost):
    """`DeiTModel` and whatever wraps one: a class and a distillation token in front."""

    family = "DeiT (transformers)"
    modeling = "transformers.models.deit.modeling_deit"
    prefix = "DeiT"
    num_special_tokens = 2
    grid_only_classes = (f"{modeling}.DeiTForMaskedImageModeling",)
