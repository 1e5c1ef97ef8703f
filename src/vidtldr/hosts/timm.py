"""`VisionTransformer` of timm: images, or frames of videos as a batch.

By default it passes on tokens where one of them is read, such as the class token, and the grid
where many are: a mean or an attention pool counts a merged token once, and feature maps need every
place.

Does not import timm, which would load torchvision: classes are recognised by module and name.
"""

from typing import Any, Literal, Self

from torch import Tensor, nn

from vidtldr.config import Output, Pooling
from vidtldr.hosts.host import Attend, Attended, BlockSizes, Host, is_a, join_heads

__all__ = ["TimmHost", "attended_by"]

_MODEL = "timm.models.vision_transformer.VisionTransformer"
_BLOCK = "timm.models.vision_transformer.Block"
_ATTENTION = "timm.layers.attention.Attention"

# Pooling to which it makes no difference how many places a merged token stands for.
_IGNORES_COUNTS = ("token", "max")


class TimmHost(Host):
    """`VisionTransformer` of plain `Block` and `Attention`, whatever their norms and gates."""

    family = "VisionTransformer (timm)"
    grid_methods = ("forward_intermediates",)
    grid_only_classes = ("timm.models._features.FeatureGetterNet",)

    @staticmethod
    def matches(module: nn.Module) -> bool:
        """Whether the module is a `VisionTransformer` or inherits from it."""
        return is_a(module, _MODEL)

    @classmethod
    def of(cls, root: Any) -> Self:
        """The host of that model."""
        prefix = int(root.num_prefix_tokens)
        # With dynamic sizes or dropped patches the number of tokens depends on the input.
        drops = root.patch_drop is not None and not isinstance(root.patch_drop, nn.Identity)
        fixed = not drops and not root.dynamic_img_size
        return cls(
            root, root.blocks, prefix, prefix + root.patch_embed.num_patches if fixed else None
        )

    @staticmethod
    def attention_half(block: Any, x: Tensor, attend: Attend) -> Attended:
        """`Block.forward` up to the first residual."""
        attention = block.attn
        y = block.norm1(x)
        qkv = attention.qkv(y).unflatten(-1, (3, attention.num_heads, attention.head_dim))
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)  # (B, N, 3, H, D) -> 3 x (B, H, N, D)
        attended = attended_by(attention, y, q, k, v, attend)
        y = block.drop_path1(block.ls1(attended.x))
        return attended._replace(x=x + y)

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
    def not_called(block: Any) -> tuple[nn.Module, ...]:
        """Dropout of attention maps."""
        return (block.attn.attn_drop,)

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

    def output_of(self, output: Output, pooling: Pooling) -> Literal["tokens", "grid"]:
        """What the blocks pass on, with `"auto"` resolved by what pools their tokens.

        Raises:
            NotImplementedError: If `"tokens"` would break the model or make it silently wrong.
        """
        root: Any = self.root
        ignores_counts = root.attn_pool is None and root.global_pool in _IGNORES_COUNTS
        if output == "auto" and not ignores_counts:
            return "grid"
        return super().output_of(output, pooling)


def attended_by(
    attention: Any, y: Tensor, q: Tensor, k: Tensor, v: Tensor, attend: Attend
) -> Attended:
    """Run the part of an attention that all of timm's classes share, behind its projections.

    Args:
        attention: The attention module.
        y: Normed tokens, shape (B, N, C), which open its gate if it has one.
        q: Queries as projected, shape (B, H, N, D).
        k: Keys as projected.
        v: Values.
        attend: As for `Host.attention_half`.

    Returns:
        What the attention adds to the tokens, their score and the keys.
    """
    gate = getattr(attention, "gate", None)
    gate = None if gate is None else gate(y).sigmoid()
    # Under autocast on a GPU norms return float32, and values do not.
    q, k = attention.q_norm(q).type_as(v), attention.k_norm(k).type_as(v)
    attended = attend(q, k, v, scale=attention.scale)
    y = attention.norm(join_heads(attended.x))
    y = y if gate is None else y * gate
    return Attended(attention.proj_drop(attention.proj(y)), attended.score, k)
