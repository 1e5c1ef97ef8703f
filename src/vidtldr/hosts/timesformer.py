"""TimeSformer of transformers: a class token, attention over time and then within each frame.

Attention over time takes the T neighbouring tokens of a tube for one place in all frames. So whole
tubes merge, by one match for a clip, and a place goes on meeting itself in the other frames.

Letters: `B` clips, `T` frames, `S` tubes now, `C` channels.
"""

from collections.abc import Callable
from typing import Any, Self

import torch
from torch import Tensor, nn

from vidtldr.hosts.host import (
    Attend,
    Attended,
    AttentionFlops,
    BlockSizes,
    Host,
    is_a,
    join_heads,
)

__all__ = ["TimesformerHost"]

_MODELING = "transformers.models.timesformer.modeling_timesformer"


class TimesformerHost(Host):
    """`TimesformerModel` with divided attention, and `TimesformerForVideoClassification`."""

    family = "TimeSformer (transformers)"
    returns_tuple = True

    @staticmethod
    def matches(module: nn.Module) -> bool:
        """Whether the module is a `TimesformerModel`."""
        return is_a(module, f"{_MODELING}.TimesformerModel")

    @classmethod
    def of(cls, root: Any) -> Self:
        """The host of a `TimesformerModel`.

        Raises:
            NotImplementedError: If its attention is not divided.
        """
        kind, num_frames = root.config.attention_type, root.config.num_frames
        if kind != "divided_space_time":
            raise NotImplementedError(
                f"attention_type must be 'divided_space_time' to merge, got {kind!r}, which is not "
                "supported. Use a model with divided attention."
            )
        num_tokens = 1 + root.embeddings.num_patches * num_frames
        return cls(root, root.encoder.layer, 1, num_tokens, tube_length=num_frames)

    @staticmethod
    def attention_half(block: Any, x: Tensor, attend: Attend) -> Attended:
        """`TimesformerLayer.forward` up to the residual of attention within frames."""
        num_frames = block.config.num_frames
        class_token, patches = x[:, :1], x[:, 1:]
        # Over time, unchanged: all tokens of a tube have the same mass, which cancels there.
        tubes = patches.reshape(-1, num_frames, x.shape[-1])  # (B * S, T, C)
        y = block.drop_path(block.temporal_attention(block.temporal_layernorm(tubes))[0])
        patches = patches + block.temporal_dense(y.view_as(patches))

        attention = block.attention.attention
        y = block.layernorm_before(_by_frame(class_token, patches, num_frames))
        qkv = attention.qkv(y).unflatten(-1, (3, attention.num_heads, -1))
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)  # 3 x (B * T, H, 1 + S, D)
        attended = attend(q, k, v, scale=attention.scale)
        y = block.drop_path(block.attention.output(join_heads(attended.x)))
        of_class, of_patches = _by_tube(y, x.shape[0], num_frames)
        x = torch.cat([class_token + of_class, patches + of_patches], dim=1)
        score = attended.score
        if score is not None:
            score = torch.cat(_by_tube(score.unsqueeze(-1), x.shape[0], num_frames), dim=1).squeeze(
                -1
            )
        # All that is read of keys is their mean over heads, which is less to copy.
        keys = torch.cat(_by_tube(k.mean(dim=1), x.shape[0], num_frames), dim=1).unsqueeze(1)
        return Attended(x, score, keys)

    @staticmethod
    def mass_of_keys(block: Any, mass: Tensor) -> Tensor:
        """In each frame, the class token and one token of each tube."""
        mass = mass.unsqueeze(-1)
        return _by_frame(mass[:, :1], mass[:, 1:], block.config.num_frames).squeeze(-1)

    @staticmethod
    def mlp_half(block: Any, x: Tensor) -> Tensor:
        """`TimesformerLayer.forward` from the residual of attention within frames on."""
        y: Tensor = x + block.drop_path(block.output(block.intermediate(block.layernorm_after(x))))
        return y

    @classmethod
    def attention_flops(cls, block: Any, linear_flops: Callable[..., int]) -> AttentionFlops:
        """Of a class token and S tubes: over time without the class token, then in T frames."""
        heads, channels, _ = cls.sizes(block)
        num_frames, per_pair = block.config.num_frames, 4 * heads * channels
        over_time = linear_flops(block.temporal_attention, block.temporal_dense)
        over_time = num_frames * (over_time + num_frames * per_pair)
        in_frames = num_frames * linear_flops(block.attention)
        return AttentionFlops(-over_time, over_time + in_frames, num_frames * per_pair)

    @staticmethod
    def walked_around(block: Any) -> dict[str, nn.Module]:
        """The layer and both modules around its attention within frames."""
        return {
            f"{_MODELING}.TimesformerLayer": block,
            f"{_MODELING}.TimeSformerAttention": block.attention,
            f"{_MODELING}.TimesformerSelfAttention": block.attention.attention,
        }

    @staticmethod
    def not_called(block: Any) -> tuple[nn.Module, ...]:
        """Dropout of attention maps."""
        return (block.attention.attention.attn_drop,)

    @staticmethod
    def sizes(block: Any) -> BlockSizes:
        """Heads of its attention, and its MLP."""
        attention = block.attention.attention
        head_channels = attention.qkv.in_features // attention.num_heads
        return BlockSizes(attention.num_heads, head_channels, (block.intermediate, block.output))

    @staticmethod
    def attention_dropout(block: Any) -> float:
        """`attention_probs_dropout_prob` of the config."""
        return float(block.attention.attention.attn_drop.p)


def _by_frame(class_token: Tensor, patches: Tensor, num_frames: int) -> Tensor:
    """A class token (B, 1, C) and patches (B, S * T, C), frame by frame: (B * T, 1 + S, C)."""
    num_clips, _, num_channels = patches.shape
    frames = patches.reshape(num_clips, -1, num_frames, num_channels).transpose(1, 2)
    class_tokens = class_token.unsqueeze(1).expand(-1, num_frames, -1, -1)
    return torch.cat([class_tokens, frames], dim=2).flatten(0, 1)


def _by_tube(x: Tensor, num_clips: int, num_frames: int) -> tuple[Tensor, Tensor]:
    """The class token (B, 1, C) and patches (B, S * T, C) of tokens in frames, (B * T, 1 + S, C).

    The class token is the mean of those of the frames, as in the layer.
    """
    # The number of clips is not left to `reshape`: an exported graph could not tell that it is
    # the batch of the tokens.
    x = x.reshape(num_clips, num_frames, *x.shape[1:])  # (B, T, 1 + S, C)
    class_token, tubes = x[:, :, 0].mean(dim=1, keepdim=True), x[:, :, 1:].transpose(1, 2)
    return class_token, tubes.flatten(1, 2)
