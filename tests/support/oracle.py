"""A tiny video model walked in float64, an equation at a time, with the whole map in memory."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vidtldr.method.matching import match_tokens


def merged_logits_of_videomae(
    model: nn.Module,
    pixel_values: Tensor,
    r_schedule: list[int],
    score: str | None = "sharpness",
    weighting: str = "masked-saliency",
    linkage: str = "cosine",
    protect: float = 0.0,
) -> Tensor:
    """Logits of `VideoMAEForVideoClassification` with a merge in each layer."""
    model = model.double()
    x = model.videomae.embeddings(pixel_values.double(), None)
    mass = torch.ones(x.shape[:2], dtype=torch.float64)
    for block, r in zip(model.videomae.encoder.layer, r_schedule, strict=True):
        attention = block.attention.attention
        heads = attention.num_attention_heads
        y = block.layernorm_before(x)
        q, k, v = (
            project(y).unflatten(-1, (heads, -1)).transpose(1, 2)
            for project in (attention.query, attention.key, attention.value)
        )
        x, probabilities = _attend(q, k, v, mass, x, block)
        if r:
            shift = (_mlp(block, x) - x).square().sum(-1).sqrt()
            s, weights = _weights(score, weighting, probabilities, shift)
            x, mass = _merge(x, mass, weights, r, mass if linkage == "ward" else None, protect * s)
        x = x + _mlp(block, x)
    pooled = (
        x.mean(dim=1) if model.videomae.layernorm is None else model.videomae.layernorm(x)[:, 0]
    )
    return model.classifier(pooled if model.fc_norm is None else model.fc_norm(pooled))


def _attend(
    q: Tensor, k: Tensor, v: Tensor, mass: Tensor, x: Tensor, block: nn.Module
) -> tuple[Tensor, Tensor]:
    logits = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5
    attended = (logits + mass.log()[:, None, None]).softmax(-1) @ v
    x = x + block.attention.output.dense(attended.transpose(1, 2).flatten(2))
    return x, logits.softmax(-1)


def _mlp(block: nn.Module, x: Tensor) -> Tensor:
    return block.output.dense(block.intermediate(block.layernorm_after(x)))


def _weights(
    score: str | None, weighting: str, probabilities: Tensor, shift: Tensor
) -> tuple[Tensor, Tensor]:
    attn = probabilities.mean(1)
    sharpness = (attn * attn.log()).sum(-1)
    h = {
        "sharpness": sharpness,
        "flatness": -sharpness,
        "sharpness-per-head": (probabilities * probabilities.log()).sum(-1).mean(1),
        "received": attn.mean(1),
        "representation-shift": shift,
        None: torch.zeros_like(shift),
    }[score]
    if score is None:
        return torch.zeros_like(h), torch.ones_like(h)
    s = (h - h.amin(1, keepdim=True)) / (h.amax(1, keepdim=True) - h.amin(1, keepdim=True))
    mean = s.mean(1, keepdim=True)
    sharpened = F.relu(s - mean) / (s.amax(1, keepdim=True) - mean)
    weights = {
        "masked-saliency": sharpened,
        "saliency": s,
        "mask": (s >= mean).double(),
        "mass": torch.ones_like(s),
    }
    return s, weights[weighting]


def _merge(
    x: Tensor,
    mass: Tensor,
    weights: Tensor,
    r: int,
    mass_for_linkage: Tensor | None,
    protection: Tensor,
) -> tuple[Tensor, Tensor]:
    match = match_tokens(x, r, mass=mass_for_linkage, protection=protection)
    clips = []
    for b in range(len(x)):
        group_mass, group_sum = mass[b].clone(), mass[b, :, None] * x[b]
        for i, j in zip(match.src[b].tolist(), match.dst[b].tolist(), strict=True):
            group_mass[j] += weights[b, i] * mass[b, i]
            group_sum[j] += weights[b, i] * mass[b, i] * x[b, i]
        order = match.kept[b].tolist() + list(range(1, x.shape[1], 2))
        clips.append(((group_sum / group_mass[:, None])[order], group_mass[order]))
    return torch.stack([tokens for tokens, _ in clips]), torch.stack([m for _, m in clips])
