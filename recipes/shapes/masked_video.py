"""VideoMAE-style masked pretraining for UMT's vision encoder.

Letters: `B` clips, `T` frames, `S` side of a frame, `p` side of a patch, `N` patches of a clip,
`V` visible patches, `C` channels.

Source: Tong et al., NeurIPS 2022. Difference: patches are masked at random, not in tubes, since
the objects here are small.
"""

from collections.abc import Sequence

import torch
from some_frames import embed_frames
from torch import Tensor, nn
from torch.nn import functional as F

from vidtldr.models.umt.positions import sine_cosine_positions
from vidtldr.models.umt.vision import VisionBlock, VisionEncoder

__all__ = ["MaskedVideo"]

DECODER_SIZE = 96
DECODER_LAYERS = 2
MASKED_SHARE = 0.8


class MaskedVideo(nn.Module):
    """The encoder sees a fifth of the patches; a small decoder reconstructs the others.

    Args:
        encoder: The encoder to pretrain, in place.
    """

    positions: Tensor

    def __init__(self, encoder: VisionEncoder) -> None:
        super().__init__()
        config = encoder.config
        self.encoder = encoder
        self.patch_size = config.patch_size
        self.narrow = nn.Linear(config.hidden_size, DECODER_SIZE)
        self.mask_token = nn.Parameter(torch.zeros(DECODER_SIZE))
        self.blocks = nn.ModuleList(VisionBlock(DECODER_SIZE, 3) for _ in range(DECODER_LAYERS))
        self.norm = nn.LayerNorm(DECODER_SIZE)
        self.paint = nn.Linear(DECODER_SIZE, 3 * config.patch_size**2)
        table = sine_cosine_positions(len(encoder.encoder.positions), DECODER_SIZE)
        self.register_buffer("positions", table, persistent=False)

    def forward(self, pixel_values: Tensor, frames: Sequence[int], noise: Tensor) -> Tensor:
        """Mean squared error of the hidden patches, each normalised by its own mean and std.

        Args:
            pixel_values: Some frames of clips, shape (B, T, 3, S, S).
            frames: Their indices in the clip.
            noise: One number per patch, shape (B, N); the patches with the lowest stay visible.
        """
        order = noise.argsort(dim=1)
        num_visible = round((1 - MASKED_SHARE) * noise.shape[1])
        visible, hidden = order[:, :num_visible], order[:, num_visible:]
        x = embed_frames(self.encoder, pixel_values, frames)
        x = _pick(x, visible)
        for block in self.encoder.blocks:
            x = block(x)
        y = self.narrow(self.encoder.encoder.norm(x))
        y = torch.cat((y, self.mask_token.to(y.dtype).expand(*hidden.shape, -1)), dim=1)
        places = self.positions.unflatten(0, (-1, noise.shape[1] // len(frames)))[list(frames)]
        y = y + places.flatten(0, 1)[order].to(y.dtype)
        for block in self.blocks:
            y = block(y)
        painted = self.paint(self.norm(y[:, num_visible:])).float()
        return F.mse_loss(painted, _pick(self._patches(pixel_values), hidden))

    def _patches(self, pixel_values: Tensor) -> Tensor:
        """Normalised pixels of every patch, (B, N, 3 * p * p)."""
        p = self.patch_size
        patches = pixel_values.unflatten(4, (-1, p)).unflatten(3, (-1, p))
        patches = patches.permute(0, 1, 3, 5, 2, 4, 6).flatten(4).flatten(1, 3)
        spread, mean = torch.std_mean(patches, dim=-1, keepdim=True)
        return (patches - mean) / (spread + 1e-3)


def _pick(x: Tensor, places: Tensor) -> Tensor:
    """Select tokens (B, N, C) by index (B, V): (B, V, C)."""
    return x.gather(1, places[..., None].expand(-1, -1, x.shape[-1]))
