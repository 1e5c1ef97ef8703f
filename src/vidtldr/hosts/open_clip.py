"""open_clip's own vision tower: frames of videos as a batch, a class token in front.

The text tower has blocks of the same class and is not touched. Towers of timm inside open_clip are
found by the hosts of timm. By default it passes on tokens where the class token is read, and the
grid where a mean, an attention pool or a decoder reads many.

Does not import open_clip, which would load torchvision: classes are recognised by module and name.
"""

from collections.abc import Callable
from typing import Any, Literal, Self

from torch import Tensor, nn
from torch.nn import functional as F

from vidtldr.config import Output, Pooling
from vidtldr.hosts.host import (
    Attend,
    Attended,
    AttentionFlops,
    BlockSizes,
    Host,
    is_a,
    join_heads,
    split_heads,
)

__all__ = ["OpenCLIPHost"]

_MODEL = "open_clip.transformer.VisionTransformer"
_BLOCK = "open_clip.transformer.ResidualAttentionBlock"
_CUSTOM_BLOCK = "open_clip.transformer.CustomResidualAttentionBlock"
_TORCH_ATTENTION = "torch.nn.modules.activation.MultiheadAttention"
_OWN_ATTENTION = "open_clip.transformer.Attention"


class OpenCLIPHost(Host):
    """`VisionTransformer` of open_clip with torch's attention or its own."""

    family = "open_clip (its own ViT)"
    grid_methods = ("forward_intermediates",)

    @staticmethod
    def matches(module: nn.Module) -> bool:
        """Whether the module is open_clip's own vision tower."""
        return is_a(module, _MODEL)

    @classmethod
    def of(cls, root: Any) -> Self:
        """The host of that tower.

        Raises:
            NotImplementedError: If its blocks take tokens first and clips second, or its attention
                compares by cosine.
        """
        blocks = root.transformer.resblocks
        if not getattr(root.transformer, "batch_first", False):
            raise NotImplementedError(
                "transformer.batch_first must be True, got a transformer whose blocks take tokens "
                "first and clips second. Use open_clip 3.3 or later, where it is the default."
            )
        attentions = [getattr(block, "attn", None) for block in blocks]
        if any(getattr(each, "logit_scale", None) is not None for each in attentions):
            raise NotImplementedError(
                "scaled_cosine_attn must be off, got a tower whose attention compares by cosine, "
                "which open_clip 3.3 cannot run itself. Use a model without it."
            )
        num_prefix, (height, width) = 1, root.grid_size
        fixed = isinstance(root.patch_dropout, nn.Identity)
        return cls(root, blocks, num_prefix, num_prefix + height * width if fixed else None)

    @staticmethod
    def attention_half(block: Any, x: Tensor, attend: Attend) -> Attended:
        """The block's forward up to the first residual."""
        attention = block.attn
        y = F.linear(block.ln_1(x), attention.in_proj_weight, attention.in_proj_bias)
        q, k, v = (split_heads(part, attention.num_heads) for part in y.chunk(3, dim=-1))
        is_own = hasattr(attention, "ln_q")
        if is_own:  # on a GPU norms return float32 under autocast
            q, k = attention.ln_q(q).type_as(v), attention.ln_k(k).type_as(v)
        attended = attend(q, k, v, scale=attention.head_dim**-0.5)
        if is_own:
            weighted = (
                attended.x if attention.head_scale is None else attended.x * attention.head_scale
            )
            y = attention.out_drop(attention.out_proj(attention.ln_inner(join_heads(weighted))))
        else:
            y = attention.out_proj(join_heads(attended.x))
        y = block.ln_attn(y) if hasattr(block, "ln_attn") else y
        return Attended(x + block.ls_1(y), attended.score, k)

    @staticmethod
    def mlp_half(block: Any, x: Tensor) -> Tensor:
        """The block's forward from the first residual on."""
        y: Tensor = x + block.ls_2(block.mlp(block.ln_2(x)))
        return y

    @staticmethod
    def walked_around(block: Any) -> dict[str, nn.Module]:
        """The block and its attention, each of one of two classes."""
        attention = getattr(block, "attn", block)
        is_custom = is_a(block, _CUSTOM_BLOCK)
        is_own = is_a(attention, _OWN_ATTENTION)
        return {
            _CUSTOM_BLOCK if is_custom else _BLOCK: block,
            _OWN_ATTENTION if is_own else _TORCH_ATTENTION: attention,
        }

    @staticmethod
    def not_called(block: Any) -> tuple[nn.Module, ...]:
        """`attn_drop`, or the output layer of torch's attention, whose forward reads its weight."""
        attention = block.attn
        return (attention.attn_drop if hasattr(attention, "ln_q") else attention.out_proj,)

    @staticmethod
    def sizes(block: Any) -> BlockSizes:
        """Heads of its attention, and its MLP."""
        return BlockSizes(block.attn.num_heads, block.attn.head_dim, (block.mlp,))

    @classmethod
    def attention_flops(cls, block: Any, linear_flops: Callable[..., int]) -> AttentionFlops:
        """FLOPs of the first half, with the one weight that projects to q, k and v."""
        flops = super().attention_flops(block, linear_flops)
        projected = 2 * block.attn.in_proj_weight.numel()
        return flops._replace(per_token=flops.per_token + projected)

    @staticmethod
    def attention_dropout(block: Any) -> float:
        """`dropout` of torch's attention, or `p` of the own one's `attn_drop`."""
        attention = block.attn
        own = getattr(attention, "attn_drop", None)
        return float(attention.dropout if own is None else own.p)

    def output_of(self, output: Output, pooling: Pooling) -> Literal["tokens", "grid"]:
        """What the blocks pass on, with `"auto"` resolved by what pools their tokens.

        Raises:
            NotImplementedError: If `"tokens"` would break the model or make it silently wrong.
        """
        root: Any = self.root
        reads_one = root.attn_pool is None and root.pool_type == "tok" and not root.output_tokens
        return "grid" if output == "auto" and not reads_one else super().output_of(output, pooling)

    def readout_flops(self) -> tuple[int, int]:
        """Attention pools, and the projection into the space shared with text."""
        root: Any = self.root
        once, each = 0, 0
        num_read = 1 if root.pool_type != "none" else None  # None: every token
        if root.attn_pool is not None:
            once, each = _pool_flops(root.attn_pool)
            num_read = num_read or len(root.attn_pool.query)
            if root.attn_pool_contrastive is not None:
                reads_tokens = root.attn_pool_type == "parallel"
                more, more_each = _pool_flops(root.attn_pool_contrastive)
                once += more if reads_tokens else more + num_read * more_each
                each += more_each if reads_tokens else 0
                num_read = 1
        projected = 0 if root.proj is None else 2 * root.proj.numel()
        if num_read is None:
            return once, each + projected
        return once + num_read * projected, each


def _pool_flops(pool: Any) -> tuple[int, int]:
    """FLOPs of an attention pool, but for one product with its output layer: once, each token."""
    num_queries, channels = pool.query.shape
    context = pool.attn.kdim
    once = 2 * channels**2 * (2 * num_queries - 1)  # queries and output
    return once, 4 * context * channels + 4 * num_queries * channels
