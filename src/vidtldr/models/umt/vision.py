"""UMT's vision encoder: a pre-norm transformer over all patches of all frames.

Letters: `B` clips, `T` frames, `S` side of a frame, `N` tokens, `C` channels, `H` heads,
`D` channels per head.
"""

from collections.abc import Sequence
from typing import NamedTuple, Self, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vidtldr.models.umt.config import ConfigName, UMTConfig, resolve_config
from vidtldr.models.umt.positions import interpolate_positions, sine_cosine_positions

__all__ = [
    "VideoFeatures",
    "VideoTokens",
    "VisionBlock",
    "VisionEncoder",
    "build_vision_encoder",
]

LAYER_NORM_EPS = 1e-6
MLP_RATIO = 4


class VideoTokens(NamedTuple):
    """What the fusion encoder attends to: tokens of one clip, or of a batch of B clips.

    Attributes:
        x: Tokens after the final norm, shape (N, C) or (B, N, C).
        mass: What each of them counts for, shape (N,) or (B, N); None if all count alike.
    """

    x: Tensor
    mass: Tensor | None = None

    @classmethod
    def stack(cls, clips: Sequence[Self]) -> Self:
        """Batch single clips with equal numbers of tokens, all with mass or all without."""
        masses = [clip.mass for clip in clips if clip.mass is not None]
        return cls(torch.stack([clip.x for clip in clips]), torch.stack(masses) if masses else None)

    def to(self, device: torch.device, dtype: torch.dtype, *, copy: bool = False) -> Self:
        """Move to a device; the tokens become `dtype`, the mass keeps its own.

        With `copy`, the result never shares memory with the original.
        """
        mass = None if self.mass is None else self.mass.to(device, copy=copy)
        return type(self)(self.x.to(device, dtype, copy=copy), mass)

    def tensors(self) -> dict[str, Tensor]:
        """Return the tensors that are not None by name; `VideoTokens(**tensors)` is the inverse."""
        return {name: value for name, value in self._asdict().items() if value is not None}


class VideoFeatures(NamedTuple):
    """Output of the vision encoder for a batch of clips.

    Attributes:
        tokens: Tokens after the final norm, shape (B, N, C).
        pooled: One vector per clip before projection, shape (B, C).
        mass: What each token counts for, shape (B, N), at least float32; None if all count alike:
            unmerged, or merged with pooling="tokens".
    """

    tokens: Tensor
    pooled: Tensor
    mass: Tensor | None = None

    def by_clip(self) -> list[VideoTokens]:
        """Return views of the tokens (N, C) and mass (N,) of each clip."""
        masses = [None] * len(self.tokens) if self.mass is None else self.mass.unbind()
        return [VideoTokens(x, mass) for x, mass in zip(self.tokens, masses, strict=True)]


class VisionAttention(nn.Module):
    """Self-attention with biases on queries and values only."""

    def __init__(self, hidden_size: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(hidden_size, 3 * hidden_size, bias=False)
        self.q_bias = nn.Parameter(torch.zeros(hidden_size))
        self.v_bias = nn.Parameter(torch.zeros(hidden_size))
        self.proj = nn.Linear(hidden_size, hidden_size)

    def project(self, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return queries, keys and values of normed tokens (B, N, C), each (B, H, N, D)."""
        bias = torch.cat((self.q_bias, torch.zeros_like(self.q_bias), self.v_bias))
        qkv = self.qkv(y)  # called, not read: it may be quantized, or carry an adapter
        qkv = qkv + bias.to(qkv.dtype)  # which autocast makes another than the bias's
        q, k, v = qkv.reshape(*y.shape[:2], 3, self.num_heads, -1).permute(2, 0, 3, 1, 4)
        return q, k, v  # each (B, N, H, D) -> (B, H, N, D)

    def forward(self, y: Tensor) -> Tensor:
        """Let normed tokens (B, N, C) attend to each other; same shape."""
        out = F.scaled_dot_product_attention(*self.project(y))
        return cast(Tensor, self.proj(out.transpose(1, 2).flatten(2)))  # (B, H, N, D) -> (B, N, C)


class VisionMLP(nn.Module):
    """Two linear layers with exact GELU in between."""

    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(hidden_size, MLP_RATIO * hidden_size)
        self.fc2 = nn.Linear(MLP_RATIO * hidden_size, hidden_size)

    def forward(self, y: Tensor) -> Tensor:
        """Transform each normed token (B, N, C) separately; same shape."""
        return cast(Tensor, self.fc2(F.gelu(self.fc1(y))))


class VisionBlock(nn.Module):
    """One pre-norm block: `x + attn(norm1(x))`, then `x + mlp(norm2(x))`."""

    def __init__(self, hidden_size: int, num_heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(hidden_size, eps=LAYER_NORM_EPS)
        self.attn = VisionAttention(hidden_size, num_heads)
        self.norm2 = nn.LayerNorm(hidden_size, eps=LAYER_NORM_EPS)
        self.mlp = VisionMLP(hidden_size)

    def forward(self, x: Tensor) -> Tensor:
        """Run the block on tokens (B, N, C); same shape."""
        x = x + self.attn(self.norm1(x))
        return x + cast(Tensor, self.mlp(self.norm2(x)))


class PatchEmbedding(nn.Module):
    """Cut each frame into patches and project them; frames are not mixed."""

    def __init__(self, patch_size: int, hidden_size: int) -> None:
        super().__init__()
        size = (1, patch_size, patch_size)
        self.proj = nn.Conv3d(3, hidden_size, kernel_size=size, stride=size)

    def forward(self, pixel_values: Tensor) -> Tensor:
        """Turn clips (B, T, 3, S, S) into tokens (B, N, C), frame by frame, row by row."""
        patches: Tensor = self.proj(pixel_values.transpose(1, 2).to(self.proj.weight.dtype))
        return patches.flatten(2).transpose(1, 2)  # (B, C, T, S/p, S/p) -> (B, N, C)


class PatchTransformer(nn.Module):
    """Patch embedding, positions, blocks and final norm."""

    positions: Tensor

    def __init__(self, config: UMTConfig) -> None:
        super().__init__()
        self.config = config
        self.num_patches = (config.image_size // config.patch_size) ** 2
        self.patch_embed = PatchEmbedding(config.patch_size, config.hidden_size)
        self.blocks = nn.ModuleList(
            VisionBlock(config.hidden_size, config.num_heads) for _ in range(config.num_layers)
        )
        self.norm = nn.LayerNorm(config.hidden_size, eps=LAYER_NORM_EPS)
        self.reset_positions()

    def reset_positions(self) -> None:
        """Compute the fixed table, which is in no file; needed again after the meta device."""
        num_positions = self.config.num_frames * self.num_patches
        table = sine_cosine_positions(num_positions, self.config.hidden_size)
        self.register_buffer("positions", table.to(self.norm.weight.device), persistent=False)


class VisionEncoder(nn.Module):
    """UMT's vision encoder: clips in, tokens and one pooled vector out.

    `forward` is `embed`, then each of `blocks`, then `pool`; a caller that runs the blocks
    differently uses the same three. Parameters carry the names of the official checkpoints.

    Args:
        config: Sizes of the model.
        pool_norm: Whether the mean token gets its own LayerNorm. Question-answering checkpoints
            have none, so `pooled` is the plain mean.
    """

    def __init__(self, config: UMTConfig, *, pool_norm: bool = True) -> None:
        super().__init__()
        self.config = config
        self.encoder = PatchTransformer(config)
        self.pool_norm: nn.Module = nn.Identity()
        if pool_norm:
            self.pool_norm = nn.LayerNorm(config.hidden_size, eps=LAYER_NORM_EPS)

    @property
    def blocks(self) -> nn.ModuleList:
        """The transformer's blocks, first to last."""
        return self.encoder.blocks

    def embed(self, pixel_values: Tensor) -> Tensor:
        """Turn clips into tokens with positions added.

        Args:
            pixel_values: Normalised clips, shape (B, T, 3, S, S), any floating dtype (converted to
                the weights'). T of 1 is an image; any other T gets the positions interpolated in
                time.

        Returns:
            Tokens, shape (B, T * (S/p)^2, C).

        Raises:
            ValueError: If the shape does not fit.
        """
        side = self.config.image_size
        shape = tuple(pixel_values.shape)
        if len(shape) != 5 or shape[1] < 1 or shape[2:] != (3, side, side):
            raise ValueError(
                f"pixel_values must be (clips, frames, 3, {side}, {side}), got {shape}. "
                "Resize the frames and put frames before channels."
            )
        x: Tensor = self.encoder.patch_embed(pixel_values)
        table = interpolate_positions(self.encoder.positions, self.encoder.num_patches, shape[1])
        return x + table.to(x.dtype)

    def pool(self, x: Tensor, mass: Tensor | None = None) -> VideoFeatures:
        """Norm the last block's tokens (B, N, C) and pool them by their mean.

        Args:
            x: Tokens.
            mass: What each token counts for, shape (B, N), positive; None if all count alike. It
                is returned with the tokens, for the fusion encoder.
        """
        tokens = self.encoder.norm(x)
        if mass is None:
            return VideoFeatures(tokens, self.pool_norm(tokens.mean(dim=1)))
        share = (mass / mass.sum(dim=1, keepdim=True)).to(tokens.dtype)
        return VideoFeatures(tokens, self.pool_norm((tokens * share[..., None]).sum(dim=1)), mass)

    def forward(self, pixel_values: Tensor) -> VideoFeatures:
        """Encode clips (B, T, 3, S, S)."""
        x = self.embed(pixel_values)
        for block in self.blocks:
            x = block(x)
        return self.pool(x)


def build_vision_encoder(config: ConfigName | UMTConfig = "b16") -> VisionEncoder:
    """Build a vision encoder with random weights, for benchmarks and counting FLOPs.

    Args:
        config: "b16" or "l16" (12 frames of 224), or custom sizes.

    Returns:
        The encoder in evaluation mode, float32, on the default device.
    """
    return VisionEncoder(resolve_config(config)).eval()
