"""DINOv2 of transformers, without and with register tokens behind the class token.

By default it passes on the grid: patch tokens are what the model is used for, its classifier takes
their mean, and a backbone makes maps of them. With pooling by mass the classifier takes the mean of
merged tokens by their mass.
"""

from typing import Any, ClassVar, Self

from torch import Tensor, nn

from vidtldr.hosts.host import Attend, Attended, is_a, join_heads, split_heads
from vidtldr.hosts.pooling_step import PoolingStep
from vidtldr.hosts.vit import ViTHost

__all__ = ["Dinov2Host", "Dinov2WithRegistersHost"]


class Dinov2Host(ViTHost):
    """`Dinov2Model`, `Dinov2Backbone` and whatever holds one of them.

    Its attention has the modules of ViT's; around it are other norms and layer scales.
    """

    family = "DINOv2 (transformers)"
    modeling = "transformers.models.dinov2.modeling_dinov2"
    prefix = "Dinov2"
    grid_classes: ClassVar[tuple[str, ...]] = (f"{modeling}.Dinov2Model",)
    grid_only_classes: ClassVar[tuple[str, ...]] = (f"{modeling}.Dinov2Backbone",)

    @classmethod
    def matches(cls, module: nn.Module) -> bool:
        """Whether the module owns the family's embeddings and encoder."""
        names = (f"{cls.modeling}.{cls.prefix}{kind}" for kind in ("Model", "Backbone"))
        return is_a(module, *names)

    @classmethod
    def of(cls, root: Any) -> Self:
        """The host of that module.

        Raises:
            NotImplementedError: If its layers are those of an older version of transformers.
        """
        blocks = root.encoder.layer
        attention = getattr(blocks[0], "attention", None)
        is_plain = is_a(attention, f"{cls.modeling}.{cls.prefix}Attention")
        if is_plain and not hasattr(attention, "q_proj"):
            raise NotImplementedError(
                f"{type(root).__name__} must have the layers of transformers 5.18 or later, got "
                "older ones, which are laid out differently. Upgrade transformers."
            )
        num_special = 1 + getattr(root.config, "num_register_tokens", 0)
        num_patches = root.embeddings.patch_embeddings.num_patches
        return cls(root, blocks, num_special, num_special + num_patches)

    @staticmethod
    def attention_half(block: Any, x: Tensor, attend: Attend) -> Attended:
        """The layer's forward up to the first residual."""
        attention = block.attention
        y = block.norm1(x)
        q, k, v = (
            split_heads(project(y), attention.num_attention_heads)
            for project in (attention.q_proj, attention.k_proj, attention.v_proj)
        )
        attended = attend(q, k, v, scale=attention.scaling)
        y = block.layer_scale1(attention.o_proj(join_heads(attended.x)))
        return Attended(block.drop_path(y) + x, attended.score, k)

    @staticmethod
    def mlp_half(block: Any, x: Tensor) -> Tensor:
        """The layer's forward from the first residual on."""
        y: Tensor = block.drop_path(block.layer_scale2(block.mlp(block.norm2(x)))) + x
        return y

    def pooling_steps(self) -> tuple[PoolingStep, ...]:
        """The norm before the mean of patches, in the classifier."""
        if not self.is_inside(f"{self.modeling}.{self.prefix}ForImageClassification"):
            return ()
        root: Any = self.root
        return (PoolingStep(root.layernorm, returns="shares"),)


class Dinov2WithRegistersHost(Dinov2Host):
    """`Dinov2WithRegistersModel`, `...Backbone` and whatever holds one of them."""

    family = "DINOv2 with registers (transformers)"
    modeling = "transformers.models.dinov2_with_registers.modeling_dinov2_with_registers"
    prefix = "Dinov2WithRegisters"
    grid_classes = (f"{modeling}.Dinov2WithRegistersModel",)
    grid_only_classes = (f"{modeling}.Dinov2WithRegistersBackbone",)
