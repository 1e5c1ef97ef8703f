"""`Eva` of timm: EVA-02, Perception Encoder, DINOv3 and others, mostly with rotary positions."""

import sys
from collections.abc import Mapping
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrize import type_before_parametrizations

from vidtldr.hosts.host import Attend, Attended, is_a
from vidtldr.hosts.timm import TimmHost, attended_by

__all__ = ["EvaHost"]

_MODEL = "timm.models.eva.Eva"
_BLOCK = "timm.models.eva.EvaBlock"
_EVA_ATTENTION = "timm.models.eva.EvaAttention"
_ROPE_ATTENTION = "timm.layers.attention.AttentionRope"


class EvaHost(TimmHost):
    """`Eva` of plain `EvaBlock`, with either of its attentions and any kind of rotary positions.

    By default it passes on tokens or the grid as `VisionTransformer` does.
    """

    family = "Eva (timm)"

    @staticmethod
    def matches(module: nn.Module) -> bool:
        """Whether the module is an `Eva`."""
        return is_a(module, _MODEL)

    @classmethod
    def of(cls, root: Any) -> Self:
        """The host of that model."""
        host = super().of(root)
        host.is_rotary = root.rope is not None
        return host

    @staticmethod
    def attention_half(block: Any, x: Tensor, attend: Attend) -> Attended:
        """`EvaBlock.forward` up to the first residual."""
        y = block.norm1(x)
        q, k, v = _projected(block.attn, y)
        attended = attended_by(block.attn, y, q, k, v, attend)
        y = attended.x if block.gamma_1 is None else block.gamma_1 * attended.x
        return attended._replace(x=x + block.drop_path1(y))

    @staticmethod
    def rotate(
        block: Any, q: Tensor, k: Tensor, places: Tensor, inputs: Mapping[str, Any]
    ) -> tuple[Tensor, Tensor]:
        """Turn by the angles of each place; class and register tokens have none."""
        attention = block.attn
        prefix = attention.num_prefix_tokens
        angles = _angles_at(inputs["rope"], places[:, prefix:] - prefix)
        modeling = type_before_parametrizations(attention).__module__
        apply = sys.modules[modeling].apply_rot_embed_cat

        def turned(x: Tensor) -> Tensor:
            patches = apply(x[:, :, prefix:], angles, half=attention.rotate_half)
            return torch.cat([x[:, :, :prefix], patches], dim=2)

        return turned(q), turned(k)

    @staticmethod
    def mlp_half(block: Any, x: Tensor) -> Tensor:
        """`EvaBlock.forward` from the first residual on."""
        y = block.mlp(block.norm2(x))
        y = y if block.gamma_2 is None else block.gamma_2 * y
        z: Tensor = x + block.drop_path2(y)
        return z

    @staticmethod
    def walked_around(block: Any) -> dict[str, nn.Module]:
        """The block and its attention, of one of two classes."""
        attention = getattr(block, "attn", block)
        is_rope = is_a(attention, _ROPE_ATTENTION)
        return {_BLOCK: block, _ROPE_ATTENTION if is_rope else _EVA_ATTENTION: attention}

    @staticmethod
    def not_called(block: Any) -> tuple[nn.Module, ...]:
        """`attn_drop`, and `qkv` where its biases are parameters beside it."""
        attention = block.attn
        read = (attention.qkv,) if _reads_weight(attention) else ()
        return (attention.attn_drop, *read)


def _projected(attention: Any, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values, each (B, H, N, D)."""
    if attention.qkv is None:
        q, k, v = (
            project(y).unflatten(-1, (-1, attention.head_dim)).transpose(1, 2)
            for project in (attention.q_proj, attention.k_proj, attention.v_proj)
        )
    else:
        qkv = _qkv(attention, y).reshape(*y.shape[:-1], 3, attention.num_heads, -1)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)  # (B, N, 3, H, D) -> 3 x (B, H, N, D)
    groups = getattr(attention, "num_kv_groups", 1)
    if groups > 1:  # heads of queries that share keys and values
        k, v = (x.repeat_interleave(groups, dim=1) for x in (k, v))
    return q, k, v


def _qkv(attention: Any, y: Tensor) -> Tensor:
    q_bias = getattr(attention, "q_bias", None)
    if q_bias is None:
        projected: Tensor = attention.qkv(y)
        return projected
    bias = torch.cat((q_bias, attention.k_bias, attention.v_bias))
    if _reads_weight(attention):
        return F.linear(y, attention.qkv.weight, bias)  # as timm does: in one step, in its rounding
    separate: Tensor = attention.qkv(y) + bias
    return separate


def _reads_weight(attention: Any) -> bool:
    """Whether timm reads the weight of `qkv` past the layer's own forward."""
    return getattr(attention, "q_bias", None) is not None and not attention.qkv_bias_separate


def _angles_at(rope: Tensor, patches: Tensor) -> Tensor:
    """Angles of some patches, shape (B, 1 or H, n, 2 D).

    Args:
        rope: Sines and cosines of every patch that entered: (N, 2 D), of each head (H, N, 2 D), or
            of each clip (B, 1 or H, N, 2 D) where patches were dropped.
        patches: Index of each patch's place among them, shape (B, n), int64.
    """
    num_clips = patches.shape[0]
    rope = rope[(None,) * (4 - rope.ndim)].expand(num_clips, -1, -1, -1)
    clips = torch.arange(num_clips, device=patches.device)[:, None]
    return rope[clips, :, patches].transpose(1, 2)  # (B, n, 1 or H, 2 D) -> (B, 1 or H, n, 2 D)
