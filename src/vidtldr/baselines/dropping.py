"""Random dropping in any family of models: the baseline that every way to save tokens must beat.

Letters: `B` clips, `N` tokens now, `C` channels.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from vidtldr.hosts.host import Host, validate_plain_attention
from vidtldr.hosts.registry import find_host
from vidtldr.ops.attention import attend
from vidtldr.patch.twin import twin

__all__ = ["can_drop", "dropping_twin"]


def dropping_twin(model: nn.Module, r: Sequence[int]) -> nn.Module:
    """Copy an unpatched model, sharing its weights, with random token dropping.

    Tokens are dropped where others merge: between attention and MLP, without mass. Each clip has
    its own draw, from torch's global generator.

    Args:
        model: A model of a known family.
        r: Tokens that each layer drops; missing layers drop none.

    Raises:
        NotImplementedError: If its layers read positions, or what follows them every place.
    """
    copied = twin(model)
    host = find_host(copied)
    _validate(host)
    for layer, dropped in enumerate(r):
        if dropped:
            host.blocks[layer].__dict__["forward"] = DroppingForward(host, layer, dropped)
    return copied


def can_drop(host: Host) -> bool:
    """Whether tokens of this model can be dropped at all."""
    try:
        _validate(host)
    except NotImplementedError:
        return False
    return True


def _validate(host: Host) -> None:
    validate_plain_attention(host, "random dropping")
    host.output_of("tokens", "tokens")  # raises where every place is read: some are gone


class DroppingForward:
    """Replaces `block.forward`."""

    def __init__(self, host: Host, layer: int, r: int) -> None:
        self.walk = type(host)
        self.block = host.blocks[layer]
        self.num_prefix_tokens = host.num_prefix_tokens
        self.r = r

    def __call__(self, x: Tensor | None = None, *_: Any, **kwargs: Any) -> Tensor:
        """Run the block on tokens (B, N, C) and return (B, N - r, C)."""
        x = kwargs["hidden_states"] if x is None else x  # transformers' name for it
        half = self.walk.attention_half(self.block, x, attend).x
        return self.walk.mlp_half(self.block, _without_some(half, self.r, self.num_prefix_tokens))


def _without_some(x: Tensor, r: int, num_prefix_tokens: int) -> Tensor:
    """Drop `r` tokens of each clip from (B, N, C); the others keep their order."""
    num_clips, num_tokens, num_channels = x.shape
    drawn = torch.rand(num_clips, num_tokens - num_prefix_tokens, device=x.device)
    kept = num_prefix_tokens + drawn.argsort(dim=1)[:, r:].sort(dim=1).values
    patches = x.gather(1, kept[..., None].expand(-1, -1, num_channels))
    return torch.cat((x[:, :num_prefix_tokens], patches), dim=1)
