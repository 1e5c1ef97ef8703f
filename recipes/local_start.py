"""Weights to start from: a small vision transformer that begins as a convolution would.

From random attention, and with tokens that LayerNorm scales one by one, a fifth of the patches of
shapes was named right after 13,000 images; by a convolution on the same patches, nine tenths. What
closes most of the gap: heads that begin by looking at one neighbour each, in space or in time (sine
and cosine positions make that one rotation), norms that begin as the identity, and channels that
nothing but the places may write to. Without the last, the same heads lose their neighbours again.

Letters: `C` channels, `D` channels a head, `G` patches along a side of a frame.
"""

import math

import torch
from torch import Tensor, nn

from vidtldr.models.umt.vision import VisionEncoder

__all__ = ["keep_places", "start_local"]

NEIGHBOURS = (  # of each head of each block: (frames, rows, columns) on; the last blocks have none
    ((0, 0, -1), (0, 0, 1), (0, 1, 0)),
    ((0, -1, 0), (0, -1, -1), (0, 1, 1)),
    ((0, 1, -1), (0, -1, 1), (1, 0, 0)),
    ((-1, 0, 0), (2, 0, 0), (-2, 0, 0)),
)
SHARPNESS = 3.0  # of these heads: the square goes into the logits
CONTENT = 3.0  # times the usual weights of the patch embedding, so that places do not drown it
OFFSET = 8.0  # length of the constant in every token, in units of one channel


@torch.no_grad()
def start_local(encoder: VisionEncoder) -> None:
    """Set an encoder that PyTorch has initialised, in place.

    The first channels, as many as a head has, hold the place alone: see `keep_places`.
    """
    config = encoder.config
    head_size = config.hidden_size // config.num_heads
    encoder.encoder.patch_embed.proj.weight *= CONTENT
    _begin_norms_as_identity(encoder)
    for parameter in _writers(encoder):
        parameter[:head_size] = 0
    side = config.image_size // config.patch_size
    for block, neighbours in zip(encoder.blocks, NEIGHBOURS, strict=False):
        steps = [(frames * side + rows) * side + columns for frames, rows, columns in neighbours]
        size = config.hidden_size
        block.attn.qkv.weight[:size] = SHARPNESS * torch.cat(
            [_read_place(size, head_size, step) for step in steps]
        )
        block.attn.qkv.weight[size : 2 * size] = SHARPNESS * torch.cat(
            [_read_place(size, head_size, 0) for _ in steps]
        )


def keep_places(encoder: VisionEncoder) -> None:
    """Let no gradient write to the channels of the place, from now on; call it once."""
    num_places = encoder.config.hidden_size // encoder.config.num_heads
    for parameter in _writers(encoder):
        parameter.register_hook(lambda gradient: _without_rows(gradient, num_places))


def _writers(encoder: VisionEncoder) -> list[nn.Parameter]:
    """All that adds to tokens, output channels first."""
    inner = encoder.encoder
    parameters = [inner.patch_embed.proj.weight]
    for block in inner.blocks:
        for layer in (block.attn.proj, block.mlp.fc2):
            parameters += [layer.weight, layer.bias]
    return parameters


def _without_rows(gradient: Tensor, num_rows: int) -> Tensor:
    return torch.cat((torch.zeros_like(gradient[:num_rows]), gradient[num_rows:]))


def _begin_norms_as_identity(encoder: VisionEncoder) -> None:
    """Give every token a long constant, so that all are about as long, and take it off again."""
    constant = torch.randn(encoder.config.hidden_size)
    constant = OFFSET * (constant - constant.mean()) / constant.std(correction=0)
    encoder.encoder.patch_embed.proj.bias.copy_(constant)
    inner = encoder.encoder
    norms = [norm for block in inner.blocks for norm in (block.norm1, block.norm2)]
    for norm in (*norms, inner.norm):
        assert isinstance(norm, nn.LayerNorm)
        norm.weight.fill_(OFFSET)
        norm.bias.copy_(-constant)


def _read_place(size: int, head_size: int, step: int) -> Tensor:
    """Rows that turn a token with the place `n` into the fast waves of place `n + step`, (D, C)."""
    rows = torch.zeros(head_size, size)
    for i in range(0, head_size, 2):
        angle = step / 10000 ** (i / size)
        cos, sin = math.cos(angle), math.sin(angle)
        rows[i : i + 2, i : i + 2] = torch.tensor([[cos, sin], [-sin, cos]])
    return rows
