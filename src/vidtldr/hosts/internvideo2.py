"""InternVideo2: our own encoder, and the published modules that a user's code loads.

A class token, joint space-time attention, norms of queries and keys over all channels, layer
scales. The pool behind the blocks counts every token once, so the blocks pass on the grid by
default; our own encoder also pools tokens by mass.

The published classes are copied from repository to repository: they are recognised by their names,
whatever their module is called, and by the parts of their blocks.
"""

from inspect import signature
from typing import Any, ClassVar, Literal, Self

from torch import Tensor, nn

from vidtldr.config import Output, Pooling
from vidtldr.hosts.host import Attend, Attended, BlockSizes, Host, join_heads, split_heads
from vidtldr.models.internvideo2.vision import InternVideo2

__all__ = ["InternVideo2Host", "PublishedInternVideo2Host"]

_ROOTS = (
    "InternVideo2",
    "PretrainInternVideo2",
    "DistInternVideo2",
    "PretrainVisionTransformer_clean",  # the tower of video language models
)
_PARTS_OF_BLOCK = ("norm1", "attn", "ls1", "drop_path1", "norm2", "mlp", "ls2", "drop_path2")
_PARTS_OF_ATTENTION = ("qkv", "q_norm", "k_norm", "proj", "attn_drop", "proj_drop")
# What the published classes have where they return, or pool in other ways, tokens of every place.
_READS_PLACES = ("return_index", "clip_return_index", "clip_decoder", "down_norm", "x_vis_only")


class InternVideo2Host(Host):
    """`vidtldr.models.internvideo2.InternVideo2` and whatever holds one."""

    family = "InternVideo2 (vidtldr)"
    pooling_method: ClassVar[str | None] = "pool"

    @staticmethod
    def matches(module: nn.Module) -> bool:
        """Whether the module is our own encoder."""
        return isinstance(module, InternVideo2)

    @classmethod
    def of(cls, root: Any) -> Self:
        """The host of an encoder, with the tokens of its configured number of frames."""
        return cls(root, root.blocks, 1, 1 + root.patch_embed.num_patches)

    @staticmethod
    def attention_half(block: Any, x: Tensor, attend: Attend) -> Attended:
        """`Block.forward` up to the first residual."""
        attention = block.attn
        q, k, v = attention.qkv(block.norm1(x)).chunk(3, dim=-1)
        # Under autocast norms return float32, and values are not.
        q, k = attention.q_norm(q).type_as(v), attention.k_norm(k).type_as(v)
        q, k, v = (split_heads(each, attention.num_heads) for each in (q, k, v))
        attended = attend(q, k, v, scale=attention.scale)
        y = attention.proj_drop(attention.proj(join_heads(attended.x)))
        return Attended(x + block.drop_path1(_scaled(y, block.ls1)), attended.score, k)

    @staticmethod
    def mlp_half(block: Any, x: Tensor) -> Tensor:
        """`Block.forward` from the first residual on."""
        y: Tensor = x + block.drop_path2(_scaled(block.mlp(block.norm2(x)), block.ls2))
        return y

    @staticmethod
    def walked_around(block: Any) -> dict[str, nn.Module]:
        """The block and its attention, in whatever module their classes are."""
        attention = block.attn
        return {
            f"{type(block).__module__}.Block": block,
            f"{type(attention).__module__}.Attention": attention,
        }

    @staticmethod
    def not_called(block: Any) -> tuple[nn.Module, ...]:
        """Dropout of attention maps."""
        return (block.attn.attn_drop,)

    @staticmethod
    def sizes(block: Any) -> BlockSizes:
        """Heads of its attention, and its MLP."""
        heads = block.attn.num_heads
        return BlockSizes(heads, block.attn.proj.in_features // heads, (block.mlp,))

    @staticmethod
    def attention_dropout(block: Any) -> float:
        """`p` of the block's `attn_drop`."""
        return float(block.attn.attn_drop.p)

    def output_of(self, output: Output, pooling: Pooling) -> Literal["tokens", "grid"]:
        """What the blocks pass on: the grid, or tokens by mass, with `"auto"`."""
        if output == "auto":
            output = "tokens" if pooling == "mass" else "grid"
        return super().output_of(output, pooling)

    def reads_every_token(self) -> tuple[nn.Module, ...]:
        """Keys and values of the pool."""
        pool = self._pool()
        return () if pool is None else (pool.cross_attn.k, pool.cross_attn.v)

    def readout_flops(self) -> tuple[int, int]:
        """Both products of the pool's attention, of one query."""
        pool = self._pool()
        return 0, 0 if pool is None else 4 * int(pool.cross_attn.k.out_features)

    def _pool(self) -> Any:
        """The pool behind the blocks, which a published tower of a language model lacks."""
        return getattr(self.root, "clip_projector", None)


class PublishedInternVideo2Host(InternVideo2Host):
    """`InternVideo2`, `PretrainInternVideo2`, `DistInternVideo2` and towers of the authors' code.

    Those that return tokens, or pool them by frame, pass on the grid always.
    """

    family = "InternVideo2 (published code)"
    pooling_method = None

    @staticmethod
    def matches(module: nn.Module) -> bool:
        """Whether the module is one of these by its name and the parts of its blocks."""
        if isinstance(module, InternVideo2):
            return False
        is_named = any(parent.__name__ in _ROOTS for parent in type(module).__mro__)
        return is_named and _has_known_blocks(module)

    @classmethod
    def of(cls, root: Any) -> Self:
        """The host of such a module.

        Raises:
            NotImplementedError: If its blocks pass tokens and residual on separately.
        """
        for layer, block in enumerate(root.blocks):
            # Fused attention or MLPs alone change nothing for the blocks around.
            if getattr(block, "use_fused_rmsnorm", False) or _is_fused(block.norm1):
                raise NotImplementedError(
                    f"model must be built without fused norms, got {type(block.norm1).__name__} in "
                    f"block {layer}: its blocks pass tokens and residual on separately, which "
                    "merging would mix up. Build it with use_flash_attn=False, "
                    "use_fused_rmsnorm=False, use_fused_mlp=False; the same weights load."
                )
        return super().of(root)

    def output_of(self, output: Output, pooling: Pooling) -> Literal["tokens", "grid"]:
        """What the blocks pass on, with `"auto"` the grid.

        Raises:
            NotImplementedError: If `"tokens"` would break the model or make it silently wrong.
        """
        reads_places = any(hasattr(self.root, name) for name in _READS_PLACES)
        if output == "tokens" and reads_places:
            raise NotImplementedError(
                f"output must be 'grid' for {type(self.root).__name__} "
                f"({type(self.root).__module__}), which reads or returns a token of every place, "
                "got 'tokens'. Pass output='grid'."
            )
        return super().output_of(output, pooling)

    def reads_every_token(self) -> tuple[nn.Module, ...]:
        """Keys and values of the pool, and the decoders of pretraining."""
        root: Any = self.root
        decoders = [getattr(root, name, ()) for name in ("clip_decoder", "mae_decoder")]
        return (*super().reads_every_token(), *(each for listed in decoders for each in listed))


def _has_known_blocks(module: nn.Module) -> bool:
    blocks = getattr(module, "blocks", None)
    return isinstance(blocks, nn.ModuleList) and len(blocks) > 0 and all(map(_is_known, blocks))


def _is_known(block: Any) -> bool:
    """Whether a block has the known parts, and depends on nothing but its tokens."""
    return (
        type(block).__name__ == "Block"
        and set(signature(type(block).forward).parameters) <= {"self", "x", "residual"}
        and all(hasattr(block, name) for name in _PARTS_OF_BLOCK)
        and all(hasattr(block.attn, name) for name in _PARTS_OF_ATTENTION)
    )


def _is_fused(norm: nn.Module) -> bool:
    return any(parent.__name__ == "DropoutAddRMSNorm" for parent in type(norm).__mro__)


def _scaled(y: Tensor, scale: Any) -> Tensor:
    """Scale channels by a block's layer scale, which in some copies is a plain parameter."""
    scaled: Tensor = scale * y if isinstance(scale, Tensor) else scale(y)
    return scaled
