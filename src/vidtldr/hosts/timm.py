"""`VisionTransformer` of timm: images, or frames of videos as a batch.

Does not import timm, which would load torchvision: classes are recognised by module and name.
"""

from typing import Any, Self

from torch import Tensor, nn

from vidtldr.hosts.host import Attend, Attended, BlockSizes, Host, is_a, join_heads

__all__ = ["TimmHost"]

_MODEL = "timm.models.vision_transformer.VisionTransformer"
_BLOCK = "timm.models.vision_transformer.Block"
_ATTENTION = "timm.layers.attention.Attention"


class TimmHost(Host):
    """`VisionTransformer` of plain `Block` and `Attention`, whatever their norms and gates."""

    family = "VisionTransformer (timm)"
    grid_methods = ("forward_intermediates",)

    @staticmethod
    def matches(module: nn.Module) -> bool:
        """Whether the module is a `VisionTransformer` or inherits from it."""
        return is_a(module, _MODEL)

    @classmethod
    def of(cls, root: Any) -> Self:
        """The host of a `VisionTransformer`."""
        prefix = int(root.num_prefix_tokens)
        # With dynamic sizes or dropped patches the number of tokens depends on the input.
        fixed = isinstance(root.patch_drop, nn.Identity) and not root.dynamic_img_size
        return cls(
            root, root.blocks, prefix, prefix + root.patch_embed.num_patches if fixed else None
        )

    @staticmethod
    def attention_half(block: Any, x: Tensor, attend: Attend) -> Attended:
        """`Block.forward` up to the first residual."""
        attention = block.attn
        y = block.norm1(x)
        gate = getattr(attention, "gate", None)
        gate = None if gate is None else gate(y).sigmoid()
        qkv = attention.qkv(y).unflatten(-1, (3, attention.num_heads, attention.head_dim))
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)  # (B, N, 3, H, D) -> 3 x (B, H, N, D)
        q, k = attention.q_norm(q), attention.k_norm(k)
        attended = attend(q, k, v, scale=attention.scale)
        y = attention.norm(join_heads(attended.x))
        y = y if gate is None else y * gate
        y = block.drop_path1(block.ls1(attention.proj_drop(attention.proj(y))))
        return Attended(x + y, attended.score, k)

    @staticmethod
    def mlp_half(block: Any, x: Tensor) -> Tensor:
        """`Block.forward` from the first residual on."""
        y: Tensor = x + block.drop_path2(block.ls2(block.mlp(block.norm2(x))))
        return y

    @staticmethod
    def walked_around(block: Any) -> dict[str, nn.Module]:
        """The block and its attention; other classes of either compute something else."""
        return {_BLOCK: block, _ATTENTION: getattr(block, "attn", block)}

    @staticmethod
    def sizes(block: Any) -> BlockSizes:
        """Heads of its attention, and its MLP."""
        return BlockSizes(block.attn.num_heads, block.attn.head_dim, (block.mlp,))

    def reads_every_token(self) -> tuple[nn.Module, ...]:
        """Keys and values of attention pooling, or a head without pooling."""
        root: Any = self.root
        if root.attn_pool is not None:
            return (root.attn_pool.kv,)
        return () if root.global_pool else (root.head,)

    @staticmethod
    def attention_dropout(block: Any) -> float:
        """`p` of the block's `attn_drop`."""
        return float(block.attn.attn_drop.p)
