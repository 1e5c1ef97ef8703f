"""UMT's vision encoder: no class token, joint space-time attention, patches of single frames."""

from typing import Any, Self

from torch import Tensor, nn

from vidtldr.hosts.host import Attend, Attended, BlockSizes, Host, join_heads
from vidtldr.models.umt.vision import VisionEncoder

__all__ = ["UMTHost"]


class UMTHost(Host):
    """`VisionEncoder`, alone or inside a retrieval or answering model."""

    family = "UMT (vidtldr)"
    pooling_method = "pool"

    @staticmethod
    def matches(module: nn.Module) -> bool:
        """Whether the module is a `VisionEncoder`."""
        return isinstance(module, VisionEncoder)

    @classmethod
    def of(cls, root: Any) -> Self:
        """The host of a `VisionEncoder`, with the tokens of its configured number of frames."""
        return cls(root, root.blocks, 0, root.config.num_frames * root.encoder.num_patches)

    @staticmethod
    def attention_half(block: Any, x: Tensor, attend: Attend) -> Attended:
        """`VisionBlock.forward` up to the first residual."""
        q, k, v = block.attn.project(block.norm1(x))
        attended = attend(q, k, v, scale=q.shape[-1] ** -0.5)
        return Attended(x + block.attn.proj(join_heads(attended.x)), attended.score, k)

    @staticmethod
    def mlp_half(block: Any, x: Tensor) -> Tensor:
        """`VisionBlock.forward` from the first residual on."""
        y: Tensor = x + block.mlp(block.norm2(x))
        return y

    @staticmethod
    def walked_around(block: Any) -> dict[str, nn.Module]:
        """The block and its attention."""
        modeling = "vidtldr.models.umt.vision"
        return {f"{modeling}.VisionBlock": block, f"{modeling}.VisionAttention": block.attn}

    @staticmethod
    def sizes(block: Any) -> BlockSizes:
        """Heads of its attention, and its MLP."""
        heads = block.attn.num_heads
        return BlockSizes(heads, block.attn.proj.in_features // heads, (block.mlp,))

    @staticmethod
    def attention_dropout(block: Any) -> float:
        """Zero: UMT is only run here, not trained."""
        return 0.0
