"""Parts of the blocks of timm and open_clip for the float64 oracle, read off their source."""

from typing import Any

import torch
from support.encoder_oracle import Parts, merged_tokens
from torch import Tensor, nn


def timm_parts(block: Any) -> Parts:
    """Of timm's `Block`."""
    query, key, value = _thirds(block.attn.qkv.weight, block.attn.qkv.bias)
    return Parts(
        block.norm1,
        _normed(query, block.attn.q_norm, block.attn.num_heads),
        _normed(key, block.attn.k_norm, block.attn.num_heads),
        value,
        lambda y: block.attn.proj(block.attn.norm(y)),
        lambda x: block.ls2(block.mlp(block.norm2(x))),
        block.ls1,
    )


def eva_parts(block: Any, rope: Tensor | None) -> Parts:
    """Of timm's `EvaBlock`.

    Args:
        block: The block.
        rope: Sines and cosines of each patch, shape (N, 2 D) or (H, N, 2 D).
    """
    attention = block.attn
    if attention.qkv is None:
        query, key, value = attention.q_proj, attention.k_proj, attention.v_proj
    else:
        bias = attention.qkv.bias
        if getattr(attention, "q_bias", None) is not None:
            bias = torch.cat((attention.q_bias, attention.k_bias, attention.v_bias))
        query, key, value = _thirds(attention.qkv.weight, bias)
    heads = attention.num_heads
    kv_heads = getattr(attention, "num_kv_heads", heads)
    query, key = _normed(query, attention.q_norm, heads), _normed(key, attention.k_norm, kv_heads)
    key, value = (_shared(project, kv_heads, heads // kv_heads) for project in (key, value))
    prefix = attention.num_prefix_tokens

    def rotate(x: Tensor, places: list[int]) -> Tensor:
        turned = x.clone()
        for i, place in enumerate(places):
            if rope is not None and place >= prefix:
                sin, cos = rope[..., place - prefix, :].chunk(2, dim=-1)
                turned[:, i] = _turned(x[:, i], sin, cos, half=attention.rotate_half)
        return turned

    return Parts(
        block.norm1,
        query,
        key,
        value,
        lambda y: attention.proj(attention.norm(y)),
        lambda x: _scaled(block.mlp(block.norm2(x)), block.gamma_2),
        lambda y: _scaled(y, block.gamma_1),
        rotate,
    )


def open_clip_parts(block: Any) -> Parts:
    """Of open_clip's blocks."""
    attention = block.attn
    query, key, value = _thirds(attention.in_proj_weight, attention.in_proj_bias)
    if hasattr(attention, "ln_q"):
        query = _normed(query, attention.ln_q, attention.num_heads)
        key = _normed(key, attention.ln_k, attention.num_heads)

    def out(y: Tensor) -> Tensor:
        if getattr(attention, "head_scale", None) is not None:
            heads = y.unflatten(-1, (attention.num_heads, -1))
            y = (heads * attention.head_scale[:, 0]).flatten(-2)
        y = attention.ln_inner(y) if hasattr(attention, "ln_inner") else y
        y = y @ attention.out_proj.weight.T + attention.out_proj.bias
        return block.ln_attn(y) if hasattr(block, "ln_attn") else y

    return Parts(
        block.ln_1,
        query,
        key,
        value,
        out,
        lambda x: block.ls_2(block.mlp(block.ln_2(x))),
        block.ls_1,
    )


def parts_of(root: Any) -> list[Parts]:
    """Of every block of a model of timm or open_clip without its head."""
    if hasattr(root, "transformer"):
        return [open_clip_parts(block) for block in root.transformer.resblocks]
    if not hasattr(root, "rope"):
        return [timm_parts(block) for block in root.blocks]
    rope = angles_of(root)
    return [
        eva_parts(block, rope[layer] if root.rope_mixed else rope)
        for layer, block in enumerate(root.blocks)
    ]


def angles_of(root: Any) -> Tensor | None:
    """What an `Eva` hands to its blocks: of all of them, (L, H, N, 2 D), if positions are mixed."""
    if root.rope is None:
        return None
    is_fixed = getattr(root.rope, "feat_shape", None) is not None
    return root.rope.get_embed(*() if is_fixed else (root.patch_embed.grid_size,))


def merged_grid(
    x: Tensor, parts: list[Parts], r_schedule: list[int], num_prefix: int
) -> tuple[Tensor, Tensor, list[list[int]]]:
    """Final tokens, a token for every original place, and the index of the token of each place."""
    tokens, holders = merged_tokens(x, parts, 3, r_schedule, num_prefix)
    grid = torch.stack([y[places] for y, places in zip(tokens, holders, strict=True)])
    return tokens, grid, holders


def _thirds(weight: Tensor, bias: Tensor | None) -> list[Any]:
    weights = weight.chunk(3)
    biases = [None] * 3 if bias is None else bias.chunk(3)
    return [
        lambda y, w=w, b=b: nn.functional.linear(y, w, b)
        for w, b in zip(weights, biases, strict=True)
    ]


def _normed(project: Any, norm: nn.Module, num_heads: int) -> Any:
    return lambda y: norm(project(y).unflatten(-1, (num_heads, -1))).flatten(-2)


def _shared(project: Any, num_heads: int, num_groups: int) -> Any:
    """Each head of keys or values, once for every head of queries that reads it."""

    def repeated(y: Tensor) -> Tensor:
        heads = project(y).unflatten(-1, (num_heads, -1)).unbind(-2)
        return torch.cat([head for head in heads for _ in range(num_groups)], dim=-1)

    return repeated


def _turned(x: Tensor, sin: Tensor, cos: Tensor, *, half: bool) -> Tensor:
    """Turn pairs of channels (H, D): neighbours, or one of each half."""
    size = x.shape[-1]
    turned = torch.empty_like(x)
    for i in range(size // 2):
        a, b = (i, i + size // 2) if half else (2 * i, 2 * i + 1)
        turned[:, a] = x[:, a] * cos[..., a] - x[:, b] * sin[..., a]
        turned[:, b] = x[:, b] * cos[..., b] + x[:, a] * sin[..., b]
    return turned


def _scaled(y: Tensor, gain: Tensor | None) -> Tensor:
    return y if gain is None else y * gain
