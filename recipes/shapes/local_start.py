"""Initial weights: a small vision transformer that starts out like a convolution.

With random attention, and LayerNorm scaling each token separately, a fifth of the shapes' patches
were named correctly after 13,000 images; a convolution on the same patches named nine tenths. Most
of the gap is closed by heads that start by attending to one neighbour each, in space or in time
(with sine-cosine positions that is one rotation), norms that start as the identity, and channels
that only the positions may write to. Without the last, the same heads lose their neighbours again.

Letters: `C` channels, `D` channels per head, `G` patches along a side of a frame.
"""

import math

import torch
from torch import Tensor, nn

from vidtldr.models.umt.vision import VisionEncoder

__all__ = ["keep_places", "start_local"]

NEIGHBOURS = (  # offset (frames, rows, columns) of each head of each block; the last have none
    ((0, 0, -1), (0, 0, 1), (0, 1, 0)),
    ((0, -1, 0), (0, -1, -1), (0, 1, 1)),
    ((0, 1, -1), (0, -1, 1), (1, 0, 0)),
    ((-1, 0, 0), (2, 0, 0), (-2, 0, 0)),
)
SHARPNESS = 3.0  # of these heads; its square scales the logits
CONTENT = 3.0  # factor on the patch embedding's weights, so that positions do not drown it out
OFFSET = 8.0  # standard deviation over channels of the constant in every token


@torch.no_grad()
def start_local(encoder: VisionEncoder) -> None:
    """Reinitialise an encoder in place, on top of PyTorch's initialisation.

    The first `D` channels hold the position alone; see `keep_places`.
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
    """Keep gradients from writing to the position channels from now on; call it once."""
    num_places = encoder.config.hidden_size // encoder.config.num_heads
    for parameter in _writers(encoder):
        parameter.register_hook(lambda gradient: _without_rows(gradient, num_places))


def _writers(encoder: VisionEncoder) -> list[nn.Parameter]:
    """All parameters that add to the tokens, output channels first."""
    inner = encoder.encoder
    parameters = [inner.patch_embed.proj.weight]
    for block in inner.blocks:
        for layer in (block.attn.proj, block.mlp.fc2):
            parameters += [layer.weight, layer.bias]
    return parameters


def _without_rows(gradient: Tensor, num_rows: int) -> Tensor:
    return torch.cat((torch.zeros_like(gradient[:num_rows]), gradient[num_rows:]))


def _begin_norms_as_identity(encoder: VisionEncoder) -> None:
    """Add a large constant to all tokens, so their norms are similar; LayerNorms remove it."""
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
    """Rows (D, C) that map a token at position `n` to the fast waves of position `n + step`."""
    rows = torch.zeros(head_size, size)
    for i in range(0, head_size, 2):
        angle = step / 10000 ** (i / size)
        cos, sin = math.cos(angle), math.sin(angle)
        rows[i : i + 2, i : i + 2] = torch.tensor([[cos, sin], [-sin, cos]])
    return rows
