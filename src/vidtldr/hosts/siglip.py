"""SigLIP and SigLIP 2 of transformers: no class token, a probe that attends.

By default the probe attends to the grid, where a merged token counts once for each of its places;
with pooling by mass it attends to tokens, in proportion to their mass.
"""

from typing import Any, Self

from torch import nn

from vidtldr.hosts.clip import CLIPHost
from vidtldr.hosts.pooling_step import PoolingStep

__all__ = ["Siglip2Host", "SiglipHost"]


class SiglipHost(CLIPHost):
    """`SiglipVisionModel` and whatever holds one, such as `SiglipModel`."""

    family = "SigLIP (transformers)"
    modeling = "transformers.models.siglip.modeling_siglip"
    prefix = "Siglip"
    num_special_tokens = 0
    grid_classes = (f"{modeling}.SiglipVisionModel",)

    def probe(self) -> nn.MultiheadAttention | None:
        """The attention of the head, in models that have one."""
        root: Any = self.root
        return root.head.attention if root.use_head else None

    def pooling_steps(self) -> tuple[PoolingStep, ...]:
        """The last norm and the probe's attention, or the norm before a classifier's mean."""
        root: Any = self.root
        if self.is_inside(f"{self.modeling}.{self.prefix}ForImageClassification"):
            return (PoolingStep(root.post_layernorm, returns="shares"),)
        attention = self.probe()
        if attention is None:
            return ()
        heads = attention.num_heads
        probe = PoolingStep(attention, 1, "attn_mask", num_bias_heads=heads, returns="vector")
        return (PoolingStep(root.post_layernorm), probe)


class Siglip2Host(SiglipHost):
    """`Siglip2VisionModel` (NaFlex) and whatever holds one: without padding.

    Images of the same number of patches need none. With padding it makes a mask of places, which
    merging refuses. The classifier takes its mean by that mask, so it needs the grid.
    """

    family = "SigLIP 2 NaFlex (transformers)"
    modeling = "transformers.models.siglip2.modeling_siglip2"
    prefix = "Siglip2"
    grid_classes = (f"{modeling}.Siglip2VisionModel",)
    grid_only_classes = (f"{modeling}.Siglip2ForImageClassification",)

    @classmethod
    def of(cls, root: Any) -> Self:
        """The host of that tower, whose input decides the number of tokens."""
        return cls(root, root.encoder.layers, 0, None)

    def pooling_steps(self) -> tuple[PoolingStep, ...]:
        """As of SigLIP, but none for the classifier."""
        return () if self.is_inside(*self.grid_only_classes) else super().pooling_steps()
