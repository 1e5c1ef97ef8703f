"""CLIP and MetaCLIP 2 of transformers: frames of videos as a batch, a class token in front.

The text towers have layers of the same class and are not touched.
"""

from typing import Any, ClassVar, Self

from torch import Tensor, nn

from vidtldr.hosts.host import Attend, Attended, BlockSizes, Host, is_a, join_heads, split_heads
from vidtldr.hosts.pooling_step import PoolingStep

__all__ = ["CLIPHost", "MetaCLIP2Host"]


class CLIPHost(Host):
    """`CLIPVisionModel` and whatever holds one, such as `CLIPModel`.

    MetaCLIP 2 and SigLIP inherit from it: their layers have the same modules under other names of
    classes.
    """

    family = "CLIP (transformers)"
    modeling: ClassVar[str] = "transformers.models.clip.modeling_clip"
    prefix: ClassVar[str] = "CLIP"
    num_special_tokens: ClassVar[int] = 1
    grid_classes: ClassVar[tuple[str, ...]] = (f"{modeling}.CLIPForImageClassification",)

    @classmethod
    def matches(cls, module: nn.Module) -> bool:
        """Whether the module is the family's vision tower."""
        return is_a(module, f"{cls.modeling}.{cls.prefix}VisionModel")

    @classmethod
    def of(cls, root: Any) -> Self:
        """The host of that tower."""
        num_special = cls.num_special_tokens
        num_tokens = num_special + root.embeddings.num_patches
        return cls(root, root.encoder.layers, num_special, num_tokens)

    @staticmethod
    def attention_half(block: Any, x: Tensor, attend: Attend) -> Attended:
        """The layer's forward up to the first residual."""
        attention = block.self_attn
        y = block.layer_norm1(x)
        q, k, v = (
            split_heads(project(y), attention.num_heads)
            for project in (attention.q_proj, attention.k_proj, attention.v_proj)
        )
        attended = attend(q, k, v, scale=attention.scale)
        return Attended(x + attention.out_proj(join_heads(attended.x)), attended.score, k)

    @staticmethod
    def mlp_half(block: Any, x: Tensor) -> Tensor:
        """The layer's forward from the first residual on."""
        y: Tensor = x + block.mlp(block.layer_norm2(x))
        return y

    @classmethod
    def walked_around(cls, block: Any) -> dict[str, nn.Module]:
        """The layer and its attention."""
        return {
            f"{cls.modeling}.{cls.prefix}EncoderLayer": block,
            f"{cls.modeling}.{cls.prefix}Attention": block.self_attn,
        }

    @staticmethod
    def sizes(block: Any) -> BlockSizes:
        """Heads of its attention, and its MLP."""
        attention = block.self_attn
        return BlockSizes(attention.num_heads, attention.head_dim, (block.mlp,))

    def pooling_steps(self) -> tuple[PoolingStep, ...]:
        """The encoder, before a classifier's mean of patches."""
        if not self.is_inside(f"{self.modeling}.{self.prefix}ForImageClassification"):
            return ()
        root: Any = self.root
        return (PoolingStep(root.encoder, None, returns="shares"),)

    @staticmethod
    def attention_dropout(block: Any) -> float:
        """`attention_dropout` of the config."""
        return float(block.self_attn.dropout)


class MetaCLIP2Host(CLIPHost):
    """`MetaClip2VisionModel` and whatever holds one, such as `MetaClip2Model`."""

    family = "MetaCLIP 2 (transformers)"
    modeling = "transformers.models.metaclip_2.modeling_metaclip_2"
    prefix = "MetaClip2"
    grid_classes = (f"{modeling}.MetaClip2ForImageClassification",)
