"""ViViT of transformers: one class token, joint space-time attention over tubelets."""

from vidtldr.hosts.vit import ViTHost

__all__ = ["VivitHost"]


class VivitHost(ViTHost):
    """`VivitModel` and whatever wraps one, such as `VivitForVideoClassification`."""

    family = "ViViT (transformers)"
    modeling = "transformers.models.vivit.modeling_vivit"
    prefix = "Vivit"
    grid_only_classes = ()  # none of its models lays tokens out
