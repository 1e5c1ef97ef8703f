"""The vision towers of Qwen-VL models of transformers: frames in one packed sequence.

Tokens merge within their frame (an image, or two frames of a video), in all frames of a call as
many, so the frames must have the same number of patches. The mergers, also those at several depths
(deepstack), read 2 x 2 neighbouring places, so the blocks pass on the grid and the language model
gets as many tokens as before.

Letters: `F` frames of all images or videos of a call, `N` tokens of a frame now, `C` channels, `D`
channels a head.
"""

import sys
from collections.abc import Mapping
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from vidtldr.hosts.host import Attend, Attended, BlockSizes, Host, is_a, join_heads

__all__ = ["Qwen2VLHost", "Qwen3VLHost", "Qwen3VLMoeHost", "Qwen35Host", "Qwen35MoeHost"]


class Qwen3VLHost(Host):
    """`Qwen3VLVisionModel` and whatever holds one, such as `Qwen3VLForConditionalGeneration`.

    The towers of the other families here have the same modules under other names of classes.
    """

    family = "Qwen3-VL (transformers)"
    is_rotary = True
    is_packed = True
    modeling: ClassVar[str] = "transformers.models.qwen3_vl.modeling_qwen3_vl"
    tower: ClassVar[str] = "Qwen3VLVisionModel"
    block: ClassVar[str] = "Qwen3VLVisionBlock"
    attention: ClassVar[str] = "Qwen3VLVisionAttention"
    grid_only_classes = (f"{modeling}.{tower}",)

    @classmethod
    def matches(cls, module: nn.Module) -> bool:
        """Whether the module is the family's vision tower."""
        return is_a(module, f"{cls.modeling}.{cls.tower}")

    @classmethod
    def of(cls, root: Any) -> Self:
        """The host of that tower, whose input decides the number of tokens."""
        return cls(root, root.blocks, 0, None)

    @staticmethod
    def is_batch(inputs: Mapping[str, Any]) -> bool:
        """Whether all frames of a call have the same number of patches."""
        lengths = inputs["cu_seqlens"].diff()
        if torch.compiler.is_compiling():  # lengths are known only when the graph runs
            torch._assert_async(
                (lengths == lengths[0]).all(),
                "the images or frames of one call must all have the same number of patches in a "
                "compiled model that merges, got several sizes. Pass them one by one, or resize "
                "them.",
            )
            return True
        return len(set(lengths.tolist())) == 1

    @staticmethod
    def unpack(x: Tensor, inputs: Mapping[str, Any]) -> Tensor:
        """Lay out the tokens of all frames, (F * N, C), frame by frame, (F, N, C)."""
        return x.reshape(len(inputs["cu_seqlens"]) - 1, -1, x.shape[-1])

    @staticmethod
    def attention_half(block: Any, x: Tensor, attend: Attend) -> Attended:
        """The block's forward up to the first residual, for a batch of frames (F, N, C)."""
        attention = block.attn
        qkv = attention.qkv(block.norm1(x)).unflatten(-1, (3, attention.num_heads, -1))
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        attended = attend(q, k, v, scale=attention.scaling)
        return Attended(x + attention.proj(join_heads(attended.x)), attended.score, k)

    @classmethod
    def rotate(
        cls, block: Any, q: Tensor, k: Tensor, places: Tensor, inputs: Mapping[str, Any]
    ) -> tuple[Tensor, Tensor]:
        """Turn by the angles of each place, which may differ between frames of one length."""
        cos, sin = (
            cls.unpack(angles, inputs).take_along_dim(places.unsqueeze(-1), dim=1)  # (F, N, D)
            for angles in inputs["position_embeddings"]
        )
        apply = sys.modules[cls.modeling].apply_rotary_pos_emb_vision
        q, k = apply(q.transpose(1, 2), k.transpose(1, 2), cos, sin)
        return q.transpose(1, 2), k.transpose(1, 2)

    @staticmethod
    def mlp_half(block: Any, x: Tensor) -> Tensor:
        """The block's forward from the first residual on."""
        y: Tensor = x + block.mlp(block.norm2(x))
        return y

    @classmethod
    def walked_around(cls, block: Any) -> dict[str, nn.Module]:
        """The block and its attention."""
        return {
            f"{cls.modeling}.{cls.block}": block,
            f"{cls.modeling}.{cls.attention}": block.attn,
        }

    @staticmethod
    def sizes(block: Any) -> BlockSizes:
        """Heads of its attention, and its MLP."""
        return BlockSizes(block.attn.num_heads, block.attn.head_dim, (block.mlp,))

    def readout_flops(self) -> tuple[int, int]:
        """The mergers, whose linear layers run once for every 2 x 2 places, not once a frame."""
        root: Any = self.root
        mergers = [root.merger, *getattr(root, "deepstack_merger_list", ())]
        flops = sum(
            2 * layer.in_features * layer.out_features
            for merger in mergers
            for layer in merger.modules()
            if hasattr(layer, "in_features")
        )
        return -flops, flops // root.spatial_merge_size**2

    @staticmethod
    def attention_dropout(block: Any) -> float:
        """0, unless somebody sets it."""
        return float(block.attn.attention_dropout)


class Qwen3VLMoeHost(Qwen3VLHost):
    """`Qwen3VLMoeVisionModel` and whatever holds one."""

    family = "Qwen3-VL-MoE (transformers)"
    modeling = "transformers.models.qwen3_vl_moe.modeling_qwen3_vl_moe"
    tower = "Qwen3VLMoeVisionModel"
    block = "Qwen3VLMoeVisionBlock"
    attention = "Qwen3VLMoeVisionAttention"
    grid_only_classes = (f"{modeling}.{tower}",)


class Qwen35Host(Qwen3VLHost):
    """`Qwen3_5VisionModel` and whatever holds one: no deepstack."""

    family = "Qwen3.5 (transformers)"
    modeling = "transformers.models.qwen3_5.modeling_qwen3_5"
    tower = "Qwen3_5VisionModel"
    block = "Qwen3_5VisionBlock"
    attention = "Qwen3_5VisionAttention"
    grid_only_classes = (f"{modeling}.{tower}",)


class Qwen35MoeHost(Qwen3VLHost):
    """`Qwen3_5MoeVisionModel` and whatever holds one: no deepstack."""

    family = "Qwen3.5-MoE (transformers)"
    modeling = "transformers.models.qwen3_5_moe.modeling_qwen3_5_moe"
    tower = "Qwen3_5MoeVisionModel"
    block = "Qwen3_5MoeVisionBlock"
    attention = "Qwen3_5MoeVisionAttention"
    grid_only_classes = (f"{modeling}.{tower}",)


class Qwen2VLHost(Qwen3VLHost):
    """`Qwen2VisionTransformerPretrainedModel` and whatever holds one: no deepstack."""

    family = "Qwen2-VL (transformers)"
    modeling = "transformers.models.qwen2_vl.modeling_qwen2_vl"
    tower = "Qwen2VisionTransformerPretrainedModel"
    block = "Qwen2VLVisionBlock"
    attention = "VisionAttention"
    grid_only_classes = (f"{modeling}.{tower}",)
