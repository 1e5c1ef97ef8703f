"""The vision towers of Idefics 2, Idefics 3 and SmolVLM in transformers: SigLIP's layers.

The model around them lays the tokens out on their grid by the square root of their number, so they
pass on the grid by default, and inside the model always. Images of a batch may be padded: the tower
then makes a mask of places, which merging refuses.
"""

from typing import Any, Self

from torch import nn

from vidtldr.hosts.clip import CLIPHost
from vidtldr.hosts.host import is_a
from vidtldr.hosts.pooling_step import PoolingStep

__all__ = ["Idefics2Host", "Idefics3Host", "SmolVLMHost"]


class Idefics3Host(CLIPHost):
    """`Idefics3VisionTransformer` and whatever holds one; Idefics 2 and SmolVLM inherit from it."""

    family = "Idefics 3 (transformers)"
    modeling = "transformers.models.idefics3.modeling_idefics3"
    prefix = "Idefics3"
    num_special_tokens = 0
    grid_classes = (f"{modeling}.Idefics3VisionTransformer",)

    @classmethod
    def matches(cls, module: nn.Module) -> bool:
        """Whether the module is the family's vision tower."""
        return is_a(module, *cls.grid_classes)

    @classmethod
    def walked_around(cls, block: Any) -> dict[str, nn.Module]:
        """The layer and its attention."""
        return {
            f"{cls.modeling}.{cls.prefix}EncoderLayer": block,
            f"{cls.modeling}.{cls.prefix}VisionAttention": block.self_attn,
        }

    def pooling_steps(self) -> tuple[PoolingStep, ...]:
        """None: the language model reads every place."""
        return ()


class Idefics2Host(Idefics3Host):
    """`Idefics2VisionTransformer` and whatever holds one: images of any size."""

    family = "Idefics 2 (transformers)"
    modeling = "transformers.models.idefics2.modeling_idefics2"
    prefix = "Idefics2"
    grid_classes = (f"{modeling}.Idefics2VisionTransformer",)

    @classmethod
    def of(cls, root: Any) -> Self:
        """The host of that tower, whose input decides the number of tokens."""
        return cls(root, root.encoder.layers, 0, None)


class SmolVLMHost(Idefics3Host):
    """`SmolVLMVisionTransformer` and whatever holds one."""

    family = "SmolVLM (transformers)"
    modeling = "transformers.models.smolvlm.modeling_smolvlm"
    prefix = "SmolVLM"
    grid_classes = (f"{modeling}.SmolVLMVisionTransformer",)
