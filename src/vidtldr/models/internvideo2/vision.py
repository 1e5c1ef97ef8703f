"""InternVideo2's vision encoder: a pre-norm transformer over all patches of all frames.

Modules carry the names of the published ones, so that their weights load and one host walks both.
Letters: `B` clips, `T` frames, `S` side of a frame, `N` tokens, `C` channels, `H` heads,
`D` channels per head.
"""

from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vidtldr.models.internvideo2.config import InternVideo2Config
from vidtldr.models.precision import at_least_float32

__all__ = ["Attention", "Block", "ClipFeatures", "InternVideo2"]

RMS_NORM_EPS = 1e-6
LAYER_NORM_EPS = 1e-5
INITIAL_SCALE = 1e-5


class ClipFeatures(NamedTuple):
    """Output of the encoder for a batch of clips.

    Attributes:
        tokens: The last block's tokens, shape (B, N, C), the class token first; not normed.
        pooled: One vector per clip, shape (B, embed_dim).
        logits: Of the head, shape (B, num_labels); None without one.
        mass: What each token counts for, shape (B, N), at least float32; None if all count alike.
    """

    tokens: Tensor
    pooled: Tensor
    logits: Tensor | None = None
    mass: Tensor | None = None


class RMSNorm(nn.Module):
    """Divide tokens by their root mean square, at least in float32, and scale channels."""

    def __init__(self, num_channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(num_channels))

    def forward(self, x: Tensor) -> Tensor:
        """Norm tokens (..., C); same shape."""
        wide = at_least_float32(x)
        wide = wide * torch.rsqrt(wide.square().mean(dim=-1, keepdim=True) + RMS_NORM_EPS)
        return self.weight * wide.to(x.dtype)


class LayerScale(nn.Module):
    """Scale channels, at least in float32: `gamma` may be too small for half precision."""

    def __init__(self, num_channels: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.full((num_channels,), INITIAL_SCALE))

    def forward(self, x: Tensor) -> Tensor:
        """Scale tokens (..., C); same shape and dtype."""
        return (at_least_float32(x) * at_least_float32(self.gamma)).to(x.dtype)


class Attention(nn.Module):
    """Self-attention; queries and keys are normed over all channels before these become heads."""

    def __init__(self, num_channels: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.scale = (num_channels // num_heads) ** -0.5
        self.qkv = nn.Linear(num_channels, 3 * num_channels, bias=False)
        self.q_norm, self.k_norm = RMSNorm(num_channels), RMSNorm(num_channels)
        self.attn_drop, self.proj_drop = nn.Dropout(0.0), nn.Dropout(0.0)
        self.proj = nn.Linear(num_channels, num_channels)

    def forward(self, y: Tensor) -> Tensor:
        """Let normed tokens (B, N, C) attend to each other; same shape."""
        q, k, v = self.qkv(y).chunk(3, dim=-1)
        # Under autocast norms return float32.
        q, k, v = (
            x.to(v.dtype).unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
            for x in (self.q_norm(q), self.k_norm(k), v)
        )  # (B, N, C) -> (B, H, N, D)
        out = F.scaled_dot_product_attention(q, k, v, scale=self.scale)
        return cast(Tensor, self.proj_drop(self.proj(out.transpose(1, 2).flatten(2))))


class MLP(nn.Module):
    """Two linear layers with exact GELU in between."""

    def __init__(self, num_channels: int, mlp_size: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(num_channels, mlp_size)
        self.fc2 = nn.Linear(mlp_size, num_channels)

    def forward(self, y: Tensor) -> Tensor:
        """Transform each normed token (B, N, C) separately; same shape."""
        return cast(Tensor, self.fc2(F.gelu(self.fc1(y))))


class Block(nn.Module):
    """One pre-norm block: `x + ls1(attn(norm1(x)))`, then `x + ls2(mlp(norm2(x)))`."""

    def __init__(self, config: InternVideo2Config) -> None:
        super().__init__()
        num_channels = config.hidden_size
        self.norm1, self.norm2 = RMSNorm(num_channels), RMSNorm(num_channels)
        self.attn = Attention(num_channels, config.num_heads)
        self.ls1, self.ls2 = LayerScale(num_channels), LayerScale(num_channels)
        self.drop_path1, self.drop_path2 = nn.Identity(), nn.Identity()  # nothing is dropped here
        self.mlp = MLP(num_channels, config.mlp_size)

    def forward(self, x: Tensor) -> Tensor:
        """Run the block on tokens (B, N, C); same shape."""
        x = x + self.drop_path1(self.ls1(self.attn(self.norm1(x))))
        return x + cast(Tensor, self.drop_path2(self.ls2(self.mlp(self.norm2(x)))))


class PatchEmbedding(nn.Module):
    """Cut each frame into patches and project them; frames are not mixed."""

    def __init__(self, config: InternVideo2Config) -> None:
        super().__init__()
        size = (1, config.patch_size, config.patch_size)
        self.num_patches = config.num_tokens - 1
        self.proj = nn.Conv3d(3, config.hidden_size, kernel_size=size, stride=size)

    def forward(self, pixel_values: Tensor) -> Tensor:
        """Turn clips (B, T, 3, S, S) into tokens (B, N, C), frame by frame, row by row."""
        patches: Tensor = self.proj(pixel_values.transpose(1, 2).to(self.proj.weight.dtype))
        return patches.flatten(2).transpose(1, 2)  # (B, C, T, S/p, S/p) -> (B, N, C)


class CrossAttention(nn.Module):
    """Attention of given queries to given keys and values, with biases of their own."""

    def __init__(self, num_channels: int, num_heads: int, num_channels_out: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.q, self.k, self.v = (nn.Linear(num_channels, num_channels, bias=False) for _ in "qkv")
        self.q_bias = nn.Parameter(torch.zeros(num_channels))
        self.k_bias = nn.Parameter(torch.zeros(num_channels))
        self.v_bias = nn.Parameter(torch.zeros(num_channels))
        self.proj = nn.Linear(num_channels, num_channels_out)

    def forward(self, query: Tensor, key: Tensor, value: Tensor, mass: Tensor | None) -> Tensor:
        """Attend with one query (B, 1, C) to keys and values (B, N, C) of mass (B, N)."""
        projected = (self.q(query), self.k(key), self.v(value))
        q, k, v = (
            (x + bias.to(x.dtype)).unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
            for x, bias in zip(projected, (self.q_bias, self.k_bias, self.v_bias), strict=True)
        )  # (B, N, C) -> (B, H, N, D)
        bias = None if mass is None else mass.log()[:, None, None].to(q.dtype)
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
        return cast(Tensor, self.proj(out.transpose(1, 2).flatten(2)))


class AttentionPool(nn.Module):
    """The pool behind the blocks: the mean of the tokens attends to them."""

    def __init__(self, config: InternVideo2Config) -> None:
        super().__init__()
        num_channels = config.hidden_size
        self.norm1_q = nn.LayerNorm(num_channels, eps=LAYER_NORM_EPS)
        self.norm1_k = nn.LayerNorm(num_channels, eps=LAYER_NORM_EPS)
        self.norm1_v = nn.LayerNorm(num_channels, eps=LAYER_NORM_EPS)
        self.cross_attn = CrossAttention(num_channels, config.num_pool_heads, config.embed_dim)

    def forward(self, x: Tensor, mass: Tensor | None = None) -> Tensor:
        """Pool tokens (B, N, C) to (B, embed_dim), each counted by its mass (B, N) if given."""
        if mass is None:
            mean = x.mean(dim=1, keepdim=True)
        else:
            share = (mass / mass.sum(dim=1, keepdim=True)).to(x.dtype)
            mean = (x * share[..., None]).sum(dim=1, keepdim=True)
        pooled = self.cross_attn(self.norm1_q(mean), self.norm1_k(x), self.norm1_v(x), mass)
        return cast(Tensor, pooled.squeeze(1))


class InternVideo2(nn.Module):
    """InternVideo2's vision encoder, with the head of a classifier if it has labels.

    `forward` is `embed`, then each of `blocks`, then `pool`; a caller that runs the blocks
    differently uses the same three. Fresh weights are random.

    Args:
        config: Sizes of the encoder.
        num_labels: Classes of the head; None for no head.
    """

    def __init__(self, config: InternVideo2Config, num_labels: int | None = None) -> None:
        super().__init__()
        self.config = config
        self.patch_embed = PatchEmbedding(config)
        self.cls_token = nn.Parameter(torch.randn(1, 1, config.hidden_size) * 0.02)
        self.pos_embed = nn.Parameter(torch.randn(1, config.num_tokens, config.hidden_size) * 0.02)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.num_layers))
        self.clip_projector = AttentionPool(config)
        self.fc_norm: nn.Module | None = None
        self.head: nn.Module | None = None
        if num_labels is not None:
            self.fc_norm = nn.LayerNorm(config.embed_dim, eps=LAYER_NORM_EPS)
            self.head = nn.Linear(config.embed_dim, num_labels)

    def embed(self, pixel_values: Tensor) -> Tensor:
        """Turn clips into tokens with positions added.

        Args:
            pixel_values: Normalised clips, shape (B, T, 3, S, S), any floating dtype (converted to
                the weights').

        Returns:
            Tokens, shape (B, 1 + T * (S/p)^2, C), the class token first.

        Raises:
            ValueError: If the shape does not fit.
        """
        num_frames, side = self.config.num_frames, self.config.image_size
        shape = tuple(pixel_values.shape)
        if len(shape) != 5 or shape[1:] != (num_frames, 3, side, side):
            raise ValueError(
                f"pixel_values must be (clips, {num_frames}, 3, {side}, {side}), got {shape}. "
                "Resize the frames and put frames before channels; for another number of frames "
                "load the model with num_frames=."
            )
        x: Tensor = self.patch_embed(pixel_values)
        x = torch.cat([self.cls_token.to(x.dtype).expand(len(x), -1, -1), x], dim=1)
        return x + self.pos_embed.to(x.dtype)

    def pool(self, x: Tensor, mass: Tensor | None = None) -> ClipFeatures:
        """Pool the last block's tokens, and classify if there is a head.

        Args:
            x: Tokens, shape (B, N, C).
            mass: What each token counts for, shape (B, N), positive; None if all count alike.
        """
        pooled = self.clip_projector(x, mass)
        if self.head is None or self.fc_norm is None:
            return ClipFeatures(x, pooled, None, mass)
        return ClipFeatures(x, pooled, self.head(self.fc_norm(pooled)), mass)

    def forward(self, pixel_values: Tensor) -> ClipFeatures:
        """Encode clips (B, T, 3, S, S)."""
        x = self.embed(pixel_values)
        for block in self.blocks:
            x = block(x)
        return self.pool(x)
