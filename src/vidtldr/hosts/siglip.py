"""SigLIP and SigLIP 2 of one image size, of transformers: no class token, a probe that attends.

By default the probe attends to the grid, where a merged token counts once for each of its places.
"""

from typing import Any

from torch import nn

from vidtldr.hosts.clip import CLIPHost

__all__ = ["SiglipHost"]


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
