"""A merging image encoder in float64, from the model's own submodules, a token at a time."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from vidtldr.method.matching import Match, match_tokens

#: Fields of `MergeConfig` that the oracle knows.
PAPER: Mapping[str, Any] = {"score": "sharpness"}
DEFAULT: Mapping[str, Any] = {}
PROTECTED: Mapping[str, Any] = {
    "score": "sharpness",
    "linkage": "ward",
    "protect": 0.5,
    "spare_norms": 1.02,
}


class Parts(NamedTuple):
    """The submodules of a block, read off the source of its family."""

    norm: nn.Module
    query: Callable[[Tensor], Tensor]
    key: Callable[[Tensor], Tensor]
    value: Callable[[Tensor], Tensor]
    out: nn.Module
    mlp: Callable[[Tensor], Tensor]
    scale_attention: Callable[[Tensor], Tensor] = lambda x: x
    #: Turns queries or keys (H, N, D) of one clip by the places where its tokens stand.
    rotate: Callable[[Tensor, list[int]], Tensor] = lambda x, places: x
    #: What the block adds behind its tokens (B, N, C) while they attend, (B, K, C).
    added: Callable[[Tensor], Tensor] = lambda x: x[:, :0]


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


def xclip_parts(block: Any) -> Parts:
    attention = block.message_attn
    heads = attention.num_heads

    def messages(x: Tensor) -> Tensor:
        found = []
        for first in range(0, len(x), block.num_frames):
            said = block.message_fc(x[first : first + block.num_frames, 0])  # (T, C)
            y = block.message_ln(said)
            q, k, v = (
                project(y).unflatten(-1, (heads, -1)).transpose(0, 1)
                for project in (attention.q_proj, attention.k_proj, attention.v_proj)
            )
            heard = (q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5).softmax(-1) @ v
            found.append(said + attention.out_proj(heard.transpose(0, 1).flatten(1)))
        return torch.cat(found)[:, None]

    return clip_parts(block)._replace(added=messages)


def dinov2_parts(block: Any) -> Parts:
    attention = block.attention
    projections = (attention.q_proj, attention.k_proj, attention.v_proj, attention.o_proj)
    return Parts(
        block.norm1,
        *projections,
        lambda x: block.layer_scale2(block.mlp(block.norm2(x))),
        block.layer_scale1,
    )


def internvl_parts(block: Any) -> Parts:
    attention = block.attention
    return Parts(
        block.layernorm_before,
        lambda y: attention.q_norm(attention.q_proj(y)),
        lambda y: attention.k_norm(attention.k_proj(y)),
        attention.v_proj,
        attention.projection_layer,
        lambda x: block.lambda_2 * block.mlp(block.layernorm_after(x)),
        lambda x: block.lambda_1 * x,
    )


def internvideo2_parts(block: Any) -> Parts:
    def scaled(x: Tensor, scale: Any) -> Tensor:
        return x * getattr(scale, "gamma", scale)

    attention = block.attn
    query, key, value = attention.qkv.weight.chunk(3)
    return Parts(
        block.norm1,
        lambda y: attention.q_norm(y @ query.T),
        lambda y: attention.k_norm(y @ key.T),
        lambda y: y @ value.T,
        attention.proj,
        lambda x: scaled(block.mlp(block.norm2(x)), block.ls2),
        lambda x: scaled(x, block.ls1),
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
    x: Tensor,
    parts: Sequence[Parts],
    num_heads: int,
    r_schedule: Sequence[int],
    num_prefix: int,
    choices: Mapping[str, Any] = PAPER,
) -> tuple[Tensor, list[list[int]]]:
    """Run blocks with a merge between attention and MLP.

    Args:
        x: Tokens that enter the first block, shape (B, N0, C), float64.
        parts: Of each block.
        num_heads: Of each attention.
        r_schedule: Tokens to remove in each block; missing ones are 0.
        num_prefix: Tokens in front that never merge.
        choices: `PAPER`, `DEFAULT` or `PROTECTED`.

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
            norms = x[:, num_prefix:].norm(dim=-1)
            h = sharpness[:, num_prefix:]
            match = _match(x, mass, h, norms / _median(norms), r, num_prefix, choices)
            x, mass, orders, holders = _merge(x, mass, _weights(h, choices), match, holders)
            places = [
                [stood[i] for i in order] for stood, order in zip(places, orders, strict=True)
            ]
        x = x + part.mlp(x)
    return x, holders


def _attention(
    x: Tensor, mass: Tensor, part: Parts, num_heads: int, places: list[list[int]]
) -> tuple[Tensor, Tensor]:
    num_tokens = x.shape[1]
    x = torch.cat([x, part.added(x)], dim=1)
    mass = torch.cat([mass, mass.new_ones(len(mass), x.shape[1] - num_tokens)], dim=1)
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
    return x[:, :num_tokens], (attention * attention.log()).sum(-1)[:, :num_tokens]


def _saliency(h: Tensor) -> Tensor:
    return (h - h.amin(1, keepdim=True)) / (h.amax(1, keepdim=True) - h.amin(1, keepdim=True))


def _weights(h: Tensor, choices: Mapping[str, Any]) -> Tensor:
    if "score" not in choices or "protect" in choices:
        return torch.ones_like(h)
    s = _saliency(h)
    mean = s.mean(1, keepdim=True)
    return (s - mean).clamp_min(0) / (s.amax(1, keepdim=True) - mean)


def _median(norms: Tensor) -> Tensor:
    """The lower one of two, as `Tensor.median`."""
    return norms.sort(dim=1).values[:, (norms.shape[1] - 1) // 2, None]


def _match(
    metric: Tensor,
    mass: Tensor,
    h: Tensor,
    times_median: Tensor,
    r: int,
    num_prefix: int,
    choices: Mapping[str, Any],
) -> Match:
    is_ward = choices.get("linkage", "cosine" if "score" in choices else "ward") == "ward"
    return match_tokens(
        metric,
        r,
        num_prefix,
        mass=mass if is_ward else None,
        protection=choices["protect"] * _saliency(h) if "protect" in choices else None,
        spared=times_median > choices["spare_norms"] if "spare_norms" in choices else None,
    )


def _merge(
    x: Tensor, mass: Tensor, weights: Tensor, match: Match, holders: list[list[int]]
) -> tuple[Tensor, Tensor, list[list[int]], list[list[int]]]:
    num_prefix = match.num_prefix_tokens
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


def merged_tubes(
    x: Tensor,
    blocks: Sequence[Any],
    num_frames: int,
    r_schedule: Sequence[int],
    choices: Mapping[str, Any] = PAPER,
) -> tuple[Tensor, list[list[int]]]:
    """Run TimeSformer's blocks, merging whole tubes, from its submodules.

    Args:
        x: Tokens that enter the first block, shape (B, 1 + S * T, C), float64.
        blocks: Its layers.
        num_frames: T.
        r_schedule: Tubes to remove in each block; missing ones are 0.
        choices: As for `merged_tokens`; a tube is an outlier if one of its tokens is.

    Returns:
        As `merged_tokens`.
    """
    tubes = x[:, 1:].unflatten(1, (-1, num_frames))  # (B, S, T, C)
    class_token, mass = x[:, 0], torch.ones(tubes.shape[:2], dtype=torch.float64)
    holders = [list(range(tubes.shape[1])) for _ in x]
    for layer, block in enumerate(blocks):
        class_token, tubes, sharpness = _divided_attention(class_token, tubes, mass, block)
        r = r_schedule[layer] if layer < len(r_schedule) else 0
        if r:
            norms, merged = tubes.norm(dim=-1), []
            largest = (norms / _median(norms.flatten(1))[..., None]).amax(2)
            match = _match(tubes.mean(2), mass, sharpness, largest, r, 0, choices)
            weights = _weights(sharpness, choices)
            for t in range(num_frames):  # the same match in each frame
                merged.append(_merge(tubes[:, :, t], mass, weights, match, holders))
            tubes = torch.stack([frame[0] for frame in merged], dim=2)
            _, mass, _, holders = merged[0]
        tubes, class_token = (
            x + block.output(block.intermediate(block.layernorm_after(x)))
            for x in (tubes, class_token)
        )
    of_tokens = [
        [0, *(1 + i * num_frames + t for i in held for t in range(num_frames))] for held in holders
    ]
    return torch.cat([class_token[:, None], tubes.flatten(1, 2)], dim=1), of_tokens


def _divided_attention(
    class_token: Tensor, tubes: Tensor, mass: Tensor, block: Any
) -> tuple[Tensor, Tensor, Tensor]:
    """The class token, tubes and sharpness of each tube after one layer's two attentions."""
    tubes, sharpness, class_tokens = tubes.clone(), torch.zeros_like(mass), []
    for b, s in ((b, s) for b in range(len(tubes)) for s in range(tubes.shape[1])):
        y = _plain(block.temporal_layernorm(tubes[b, s]), block.temporal_attention)[0]
        tubes[b, s] += block.temporal_dense(y)
    num_frames = tubes.shape[2]
    for b in range(len(tubes)):
        of_class = []
        for t in range(num_frames):
            frame = torch.cat([class_token[b][None], tubes[b, :, t]])
            of_keys = torch.cat([mass.new_ones(1), mass[b]])
            y, attention = _plain(block.layernorm_before(frame), block.attention, of_keys)
            tubes[b, :, t] += y[1:]
            of_class.append(y[0])
            sharpness[b] += (attention * attention.log()).sum(-1)[1:] / num_frames
        class_tokens.append(class_token[b] + torch.stack(of_class).mean(0))
    return torch.stack(class_tokens), tubes, sharpness


def _plain(y: Tensor, module: Any, mass: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Attention of tokens (N, C) in proportion to mass, and its mean over heads without."""
    heads = module.attention.num_heads
    q, k, v = module.attention.qkv(y).unflatten(-1, (3, heads, -1)).permute(1, 2, 0, 3)
    logits = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5
    bias = 0 if mass is None else mass.log()
    x = ((logits + bias).softmax(-1) @ v).transpose(0, 1).flatten(1)
    return module.output.dense(x), logits.softmax(-1).mean(0)
