"""Forwards that store whole attention maps, as before fused attention.

Letters: `B` clips, `H` heads, `N` tokens now, `D` channels a head.
"""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from vidtldr.budget.counts import resolve_budget
from vidtldr.config import MergeConfig
from vidtldr.hosts.host import Host, validate_plain_attention
from vidtldr.hosts.registry import find_host
from vidtldr.ops.attention import AttentionOutput, AttentionScore
from vidtldr.patch.merging_forward import MergingForward
from vidtldr.patch.pooling import PoolingByMass
from vidtldr.patch.twin import twin

__all__ = ["eager_twin", "materialised_twin", "two_maps"]


def eager_twin(model: nn.Module) -> nn.Module:
    """Copy an unpatched model, sharing its weights; the copy stores one map per layer."""
    copied = twin(model)
    host = find_host(copied)
    validate_plain_attention(host, "eager attention")
    for block in host.blocks:
        block.__dict__["forward"] = EagerForward(host, block)
    return copied


def materialised_twin(model: nn.Module, config: MergeConfig) -> nn.Module:
    """Copy an unpatched model; the copy merges by sharpness and stores two maps per layer.

    This is how the authors' code computes its score: one softmax with mass for the values and one
    without for the sharpness, even in layers that merge nothing.

    Raises:
        ValueError: If the schedule does not fit the model.
    """
    copied = twin(model)
    host = find_host(copied)
    output = host.output_of(config.output, config.pooling)
    schedule = replace(resolve_budget(config, host), output=output)
    schedule.validate_for(len(host.blocks), None)
    for layer, block in enumerate(host.blocks):
        block.__dict__["forward"] = MaterialisedForward(host, layer, schedule, config)
    if host.pooling_method is not None and config.pooling == "mass":
        host.root.__dict__[host.pooling_method] = PoolingByMass(host)
    return copied


class EagerForward:
    """Replaces `block.forward`: the block's own halves with textbook attention."""

    def __init__(self, host: Host, block: nn.Module) -> None:
        self.walk = type(host)
        self.block = block

    def __call__(self, x: Tensor, *_: Any, **__: Any) -> Tensor:
        """Run the block on tokens (B, N, C)."""
        half = self.walk.attention_half(self.block, x, _one_map).x
        return self.walk.mlp_half(self.block, half)


class MaterialisedForward(MergingForward):
    """A merging block that stores both maps, whether it merges or not."""

    def __init__(self, host: Host, layer: int, config: MergeConfig, asked: MergeConfig) -> None:
        super().__init__(host, layer, config, asked)
        first = config.first_merging_layer
        # Layers before the first merging one also run here; they have no mass yet.
        self.is_first = first is None or layer <= first

    def _attend(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        *,
        scale: float,
        mass: Tensor | None,
        score: AttentionScore | None,
    ) -> AttentionOutput:
        return two_maps(q, k, v, scale=scale, mass=mass, with_score=score is not None)


def two_maps(
    q: Tensor, k: Tensor, v: Tensor, *, scale: float, mass: Tensor | None, with_score: bool
) -> AttentionOutput:
    """Compute attention with and without mass, both stored, in the dtype of `q`.

    Args:
        q: Queries, shape (B, H, N, D).
        k: Keys, same shape.
        v: Values, same shape.
        scale: Factor of the logits.
        mass: Mass of each key, shape (B, N), or None.
        with_score: Whether to compute sharpness from the second map.

    Returns:
        Attended values (B, H, N, D), and the sharpness (B, N), float32, or None.
    """
    logits = q @ k.transpose(-1, -2) * scale  # (B, H, N, N)
    bias = 0.0 if mass is None else mass.log().to(q.dtype)[:, None, None, :]
    weights = (logits + bias).softmax(dim=-1)
    attn = logits.softmax(dim=-1)
    score = None
    if with_score:
        mean = attn.float().mean(dim=1)
        score = torch.xlogy(mean, mean).sum(dim=-1)
    return AttentionOutput(weights @ v, score)


def _one_map(q: Tensor, k: Tensor, v: Tensor, *, scale: float) -> AttentionOutput:
    attn = (q @ k.transpose(-1, -2) * scale).softmax(dim=-1)
    return AttentionOutput(attn @ v, None)
