"""A merging image encoder in float64, from the model's own submodules, a token at a time."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from vidtldr.method.matching import match_tokens


class Parts(NamedTuple):
    """The submodules of a block, read off the source of its family."""

    norm: nn.Module
    query: nn.Module
    key: nn.Module
    value: nn.Module
    out: nn.Module
    mlp: Callable[[Tensor], Tensor]
    scale_attention: Callable[[Tensor], Tensor] = lambda x: x
    #: Turns queries or keys (H, N, D) of one clip by the places where its tokens stand.
    rotate: Callable[[Tensor, list[int]], Tensor] = lambda x, places: x


def vit_parts(block: Any) -> Parts:
    attention = block.attention
    projections = (attention.q_proj, attention.k_proj, attention.v_proj, attention.o_proj)
    return Parts(
        block.layernorm_before, *projections, lambda x: block.mlp(block.layernorm_after(x))
    )


def clip_parts(block: Any) -> Parts:
    attention = block.self_attn
    projections = (attention.q_proj, attention.k_proj, attention.v_proj, attention.out_proj)
    return Parts(block.layer_norm1, *projections, lambda x: block.mlp(block.layer_norm2(x)))


def dinov2_parts(block: Any) -> Parts:
    attention = block.attention
    projections = (attention.q_proj, attention.k_proj, attention.v_proj, attention.o_proj)
    return Parts(
        block.norm1,
        *projections,
        lambda x: block.layer_scale2(block.mlp(block.norm2(x))),
        block.layer_scale1,
    )


def dinov3_parts(block: Any, root: Any, pixel_values: Tensor) -> Parts:
    num_prefix = 1 + root.config.num_register_tokens
    cos, sin = root.rope_embeddings(pixel_values)

    def rotate(x: Tensor, places: list[int]) -> Tensor:
        turned = x.clone()
        half = x.shape[-1] // 2
        for i, place in enumerate(places):
            if place >= num_prefix:
                swapped = torch.cat((-x[:, i, half:], x[:, i, :half]), dim=-1)
                turned[:, i] = x[:, i] * cos[place - num_prefix] + swapped * sin[place - num_prefix]
        return turned

    return dinov2_parts(block)._replace(rotate=rotate)


def vjepa2_parts(block: Any) -> Parts:
    from transformers.models.vjepa2.modeling_vjepa2 import rotate_queries_or_keys

    attention = block.attention
    side = attention.grid_size

    def rotate(x: Tensor, places: list[int]) -> Tensor:
        turned = x.clone()
        for i, place in enumerate(places):
            start = 0
            for index in (place // side**2, place // side % side, place % side):
                part = slice(start, start + attention.d_dim)
                position = torch.tensor([float(index)], dtype=x.dtype)
                turned[:, i, part] = rotate_queries_or_keys(x[None, :, i : i + 1, part], position)[
                    0, :, 0
                ]
                start += attention.d_dim
        return turned

    projections = (attention.query, attention.key, attention.value, attention.proj)
    return Parts(block.norm1, *projections, lambda x: block.mlp(block.norm2(x)), rotate=rotate)


def merged_tokens(
    x: Tensor, parts: Sequence[Parts], num_heads: int, r_schedule: Sequence[int], num_prefix: int
) -> tuple[Tensor, list[list[int]]]:
    """Run blocks with the paper's merge, sharpness as the score.

    Args:
        x: Tokens that enter the first block, shape (B, N0, C), float64.
        parts: Of each block.
        num_heads: Of each attention.
        r_schedule: Tokens to remove in each block; missing ones are 0.
        num_prefix: Tokens in front that never merge.

    Returns:
        The final tokens, and for each clip the index of the token that holds each original one.
    """
    x, mass = x.double(), torch.ones(x.shape[:2], dtype=torch.float64)
    holders = [list(range(x.shape[1])) for _ in x]
    places = [list(range(x.shape[1])) for _ in x]
    for layer, part in enumerate(parts):
        x, sharpness = _attention(x, mass, part, num_heads, places)
        r = r_schedule[layer] if layer < len(r_schedule) else 0
        if r:
            weights = _weights(sharpness[:, num_prefix:])
            x, mass, orders, holders = _merge(x, mass, weights, r, num_prefix, holders)
            places = [
                [stood[i] for i in order] for stood, order in zip(places, orders, strict=True)
            ]
        x = x + part.mlp(x)
    return x, holders


def _attention(
    x: Tensor, mass: Tensor, part: Parts, num_heads: int, places: list[list[int]]
) -> tuple[Tensor, Tensor]:
    y = part.norm(x)
    q, k, v = (
        project(y).unflatten(-1, (num_heads, -1)).transpose(1, 2)
        for project in (part.query, part.key, part.value)
    )
    q, k = (
        torch.stack([part.rotate(y, stood) for y, stood in zip(turned, places, strict=True)])
        for turned in (q, k)
    )
    logits = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5
    attended = (logits + mass.log()[:, None, None]).softmax(-1) @ v
    attention = logits.softmax(-1).mean(1)
    x = x + part.scale_attention(part.out(attended.transpose(1, 2).flatten(2)))
    return x, (attention * attention.log()).sum(-1)


def _weights(h: Tensor) -> Tensor:
    s = (h - h.amin(1, keepdim=True)) / (h.amax(1, keepdim=True) - h.amin(1, keepdim=True))
    mean = s.mean(1, keepdim=True)
    return (s - mean).clamp_min(0) / (s.amax(1, keepdim=True) - mean)


def _merge(
    x: Tensor, mass: Tensor, weights: Tensor, r: int, num_prefix: int, holders: list[list[int]]
) -> tuple[Tensor, Tensor, list[list[int]], list[list[int]]]:
    match = match_tokens(x, r, num_prefix)
    tokens, masses, orders, moved = [], [], [], []
    for b in range(len(x)):
        group_mass, group_sum = mass[b].clone(), mass[b, :, None] * x[b]
        goes_to = {}
        for i, j in zip(match.src[b].tolist(), match.dst[b].tolist(), strict=True):
            counted = weights[b, i - num_prefix] * mass[b, i]
            group_mass[j] += counted
            group_sum[j] += counted * x[b, i]
            goes_to[i] = j
        patches = range(num_prefix, x.shape[1])
        destinations = [i for i in patches if (i - num_prefix) % 2]
        order = [*range(num_prefix), *match.kept[b].tolist(), *destinations]
        tokens.append((group_sum / group_mass[:, None])[order])
        masses.append(group_mass[order])
        orders.append(order)
        moved.append([order.index(goes_to.get(i, i)) for i in holders[b]])
    return torch.stack(tokens), torch.stack(masses), orders, moved
