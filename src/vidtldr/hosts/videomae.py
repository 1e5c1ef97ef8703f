"""VideoMAE of transformers: no class token, joint space-time attention.

The head's mean over tokens is unweighted, as in the authors' code, unless pooling is by mass.
"""

from typing import Any, Self

from torch import Tensor, nn

from vidtldr.hosts.host import Attend, Attended, BlockSizes, Host, is_a, join_heads, split_heads
from vidtldr.hosts.lost_biases import warn_about_lost_biases
from vidtldr.hosts.pooling_step import PoolingStep

__all__ = ["VideoMAEHost"]

_MODELING = "transformers.models.videomae.modeling_videomae"


class VideoMAEHost(Host):
    """`VideoMAEModel` and whatever wraps one, such as `VideoMAEForVideoClassification`."""

    family = "VideoMAE (transformers)"

    @staticmethod
    def matches(module: nn.Module) -> bool:
        """Whether the module is a `VideoMAEModel`."""
        return is_a(module, f"{_MODELING}.VideoMAEModel")

    @classmethod
    def of(cls, root: Any) -> Self:
        """The host of a `VideoMAEModel`."""
        return cls(root, root.encoder.layer, 0, root.embeddings.num_patches)

    @staticmethod
    def attention_half(block: Any, x: Tensor, attend: Attend) -> Attended:
        """`VideoMAELayer.forward` up to the first residual."""
        projections, output = block.attention.attention, block.attention.output
        y = block.layernorm_before(x)
        q, k, v = (
            split_heads(project(y), projections.num_attention_heads)
            for project in (projections.query, projections.key, projections.value)
        )
        attended = attend(q, k, v, scale=projections.scaling)
        return Attended(output(join_heads(attended.x), y) + x, attended.score, k)

    @staticmethod
    def mlp_half(block: Any, x: Tensor) -> Tensor:
        """`VideoMAELayer.forward` from the first residual on; `output` adds the second itself."""
        y: Tensor = block.output(block.intermediate(block.layernorm_after(x)), x)
        return y

    @staticmethod
    def walked_around(block: Any) -> dict[str, nn.Module]:
        """The layer and both modules around its attention."""
        return {
            f"{_MODELING}.VideoMAELayer": block,
            f"{_MODELING}.VideoMAEAttention": block.attention,
            f"{_MODELING}.VideoMAESelfAttention": block.attention.attention,
        }

    @staticmethod
    def sizes(block: Any) -> BlockSizes:
        """Heads of its attention, and its MLP."""
        projections = block.attention.attention
        heads, channels = projections.num_attention_heads, projections.attention_head_size
        return BlockSizes(heads, channels, (block.intermediate, block.output))

    def warn_about_weights(self) -> None:
        """Warn of biases that some versions of transformers lose while loading."""
        layers: list[Any] = self.blocks
        warn_about_lost_biases(layer.attention.attention.query for layer in layers)

    def pooling_steps(self) -> tuple[PoolingStep, ...]:
        """The encoder, before a classifier's mean; none if it reads the first token instead."""
        root: Any = self.root
        is_classifier = self.is_inside(f"{_MODELING}.VideoMAEForVideoClassification")
        if not is_classifier or not root.config.use_mean_pooling:
            return ()
        return (PoolingStep(root.encoder, None, returns="shares"),)

    @staticmethod
    def attention_dropout(block: Any) -> float:
        """`attention_probs_dropout_prob` of the config."""
        return float(block.attention.attention.dropout_prob)
