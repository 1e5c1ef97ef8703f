"""InternVideo2 small enough for slow references: ours, and stand-ins for the published modules.

The stand-ins have the names and the layout of the published modules, and nothing of their code.
"""

from typing import Any

import torch
from support.tiny_models import spread_out_weights
from torch import Tensor, nn

from vidtldr.models.internvideo2 import InternVideo2 as OurInternVideo2
from vidtldr.models.internvideo2 import InternVideo2Config

# 3 frames of 12 pixels in patches of 4: 27 patches and a class token. The heads of blocks and of
# the pool are of different sizes.
TINY = InternVideo2Config(12, 4, 3, 24, 4, 3, 40, 4, 10)


def internvideo2(num_labels: int | None = 7, **sizes: int) -> OurInternVideo2:
    config = InternVideo2Config(**vars(TINY) | sizes)
    model = spread_out_weights(OurInternVideo2(config, num_labels))
    assert isinstance(model, OurInternVideo2)
    return model


def clips(batch: int = 2, seed: int = 0, num_frames: int = 3) -> Tensor:
    """Pixel values (B, T, 3, S, S) of clips that differ."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, num_frames, 3, 12, 12, generator=generator)


class RMSNorm(nn.Module):
    def __init__(self, size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))

    def forward(self, x: Tensor) -> Tensor:
        return x / (x.pow(2).mean(-1, keepdim=True) + 1e-6).sqrt() * self.weight


class LayerScale(nn.Module):
    def __init__(self, size: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(size))

    def forward(self, x: Tensor) -> Tensor:
        return self.gamma * x


class Attention(nn.Module):
    def __init__(self, size: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads, self.scale = num_heads, (size // num_heads) ** -0.5
        self.qkv, self.proj = nn.Linear(size, 3 * size, bias=False), nn.Linear(size, size)
        self.q_norm, self.k_norm = RMSNorm(size), RMSNorm(size)
        self.attn_drop, self.proj_drop = nn.Dropout(0.0), nn.Dropout(0.0)
        self.use_flash_attn = False

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).chunk(3, dim=-1)
        out = heads(self.q_norm(q), self.k_norm(k), v, self.num_heads)
        return self.proj_drop(self.proj(out))


def heads(q: Tensor, k: Tensor, v: Tensor, num_heads: int) -> Tensor:
    """Attention of queries (B, M, C) to keys and values (B, N, C), a head at a time."""
    width = q.shape[-1] // num_heads
    found = []
    for head in range(num_heads):
        part = slice(head * width, (head + 1) * width)
        weights = (q[..., part] @ k[..., part].transpose(1, 2) / width**0.5).softmax(-1)
        found.append(weights @ v[..., part])
    return torch.cat(found, dim=-1)


class Mlp(nn.Module):
    def __init__(self, size: int, inside: int) -> None:
        super().__init__()
        self.fc1, self.act, self.fc2 = nn.Linear(size, inside), nn.GELU(), nn.Linear(inside, size)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(self.act(self.fc1(x)))


class Block(nn.Module):
    def __init__(self, config: InternVideo2Config) -> None:
        super().__init__()
        size = config.hidden_size
        self.norm1, self.attn = RMSNorm(size), Attention(size, config.num_heads)
        self.norm2, self.mlp = RMSNorm(size), Mlp(size, config.mlp_size)
        self.ls1, self.ls2 = LayerScale(size), LayerScale(size)
        self.drop_path1, self.drop_path2 = nn.Identity(), nn.Identity()
        self.use_fused_rmsnorm = False

    def forward(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        assert residual is None
        x = x + self.drop_path1(scaled(self.attn(self.norm1(x)), self.ls1))
        return x + self.drop_path2(scaled(self.mlp(self.norm2(x)), self.ls2))


def scaled(x: Tensor, scale: nn.Module | Tensor) -> Tensor:
    return x * scale if isinstance(scale, Tensor) else scale(x)


class PatchEmbed(nn.Module):
    def __init__(self, config: InternVideo2Config) -> None:
        super().__init__()
        patch = (1, config.patch_size, config.patch_size)
        self.num_patches = config.num_frames * config.num_patches
        self.proj = nn.Conv3d(3, config.hidden_size, patch, patch)


class CrossAttention(nn.Module):
    def __init__(self, config: InternVideo2Config) -> None:
        super().__init__()
        size = config.hidden_size
        self.num_heads = config.num_pool_heads
        for name in "qkv":
            setattr(self, name, nn.Linear(size, size, bias=False))
            setattr(self, f"{name}_bias", nn.Parameter(torch.zeros(size)))
        self.proj = nn.Linear(size, config.embed_dim)


class AttentionPoolingBlock(nn.Module):
    def __init__(self, config: InternVideo2Config) -> None:
        super().__init__()
        for name in "qkv":
            setattr(self, f"norm1_{name}", nn.LayerNorm(config.hidden_size, eps=1e-5))
        self.cross_attn = CrossAttention(config)

    def forward(self, x: Tensor) -> Tensor:
        cross = self.cross_attn
        read = {"q": x.mean(1, keepdim=True), "k": x, "v": x}
        q, k, v = (
            getattr(cross, name)(getattr(self, f"norm1_{name}")(y)) + getattr(cross, f"{name}_bias")
            for name, y in read.items()
        )
        return cross.proj(heads(q, k, v, cross.num_heads))[:, 0]


class InternVideo2(nn.Module):
    """A classifier: the published one takes clips (B, 3, T, S, S)."""

    def __init__(self, config: InternVideo2Config = TINY, num_classes: int = 7) -> None:
        super().__init__()
        self.patch_embed = PatchEmbed(config)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, config.hidden_size))
        self.pos_embed = nn.Parameter(torch.zeros(1, config.num_tokens, config.hidden_size))
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.num_layers))
        self.clip_projector = AttentionPoolingBlock(config)
        if num_classes:
            self.fc_norm = nn.LayerNorm(config.embed_dim)
            self.head = nn.Linear(config.embed_dim, num_classes)

    def embed(self, x: Tensor) -> Tensor:
        x = self.patch_embed.proj(x).flatten(2).transpose(1, 2)
        return torch.cat([self.cls_token.expand(len(x), -1, -1), x], dim=1) + self.pos_embed

    def forward(self, x: Tensor) -> Any:
        x = self.embed(x)
        for block in self.blocks:
            x = block(x, residual=None)
        return self.head(self.fc_norm(self.clip_projector(x)))


class PretrainInternVideo2(InternVideo2):
    """With decoders of the tokens of two layers, to which positions are added again."""

    def __init__(self, config: InternVideo2Config = TINY) -> None:
        super().__init__(config, 0)
        self.return_index = [len(self.blocks) - 1, len(self.blocks) - 2]
        self.clip_pos_embed = nn.Parameter(torch.zeros_like(self.pos_embed))
        self.clip_decoder = nn.ModuleList(nn.Linear(config.hidden_size, 5) for _ in range(2))

    def forward(self, x: Tensor, stop_before: int = 0) -> Any:
        x, seen = self.embed(x), []
        for layer, block in enumerate(self.blocks[: len(self.blocks) - stop_before]):
            x = block(x, residual=None)
            if layer in self.return_index:
                seen.append(x + self.clip_pos_embed)
        decoded = [decode(y) for decode, y in zip(self.clip_decoder, seen, strict=False)]
        return x, self.clip_projector(x), torch.stack(decoded)


class PretrainVisionTransformer_clean(InternVideo2):  # noqa: N801
    """The tower of video language models: no pool, and layer scales that are parameters."""

    def __init__(self, config: InternVideo2Config = TINY) -> None:
        super().__init__(config, 0)
        self.x_vis_only = True
        del self.clip_projector
        for block in self.blocks:
            del block.ls1, block.ls2
            block.ls1 = nn.Parameter(torch.ones(config.hidden_size))
            block.ls2 = nn.Parameter(torch.ones(config.hidden_size))

    def forward(self, x: Tensor) -> Any:
        x = self.embed(x)
        for block in self.blocks:
            x = block(x, residual=None)
        return x


class DropoutAddRMSNorm(RMSNorm):
    """Named as the fused norm of flash_attn, whose blocks return tokens and residual apart."""


def published(kind: type[nn.Module] = InternVideo2) -> nn.Module:
    return spread_out_weights(kind())
