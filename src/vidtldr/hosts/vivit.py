"""ViViT of transformers: one class token, joint space-time attention over tubelets."""

from typing import Any, Self

from torch import Tensor, nn

from vidtldr.hosts.host import Attend, Attended, BlockSizes, Host, is_a, join_heads, split_heads

__all__ = ["VivitHost"]

_MODELING = "transformers.models.vivit.modeling_vivit"


class VivitHost(Host):
    """`VivitModel` and whatever wraps one, such as `VivitForVideoClassification`."""

    family = "ViViT (transformers)"

    @staticmethod
    def matches(module: nn.Module) -> bool:
        """Whether the module is a `VivitModel`."""
        return is_a(module, f"{_MODELING}.VivitModel")

    @classmethod
    def of(cls, root: Any) -> Self:
        """The host of a `VivitModel`."""
        return cls(root, root.layers, 1, 1 + root.embeddings.patch_embeddings.num_patches)

    @staticmethod
    def attention_half(block: Any, x: Tensor, attend: Attend) -> Attended:
        """`VivitLayer.forward` up to the first residual."""
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
        """`VivitLayer.forward` from the first residual on."""
        y: Tensor = block.dropout(block.mlp(block.layernorm_after(x))) + x
        return y

    @staticmethod
    def walked_around(block: Any) -> dict[str, nn.Module]:
        """The layer and its attention."""
        return {
            f"{_MODELING}.VivitLayer": block,
            f"{_MODELING}.VivitAttention": block.attention,
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
