"""X-CLIP of transformers: frames as a batch, a class token in front, a message token behind.

In every block the class tokens of a clip's frames exchange messages. A frame's own message stands
behind its tokens while they attend, and is dropped again: tokens merge within their frame.
"""

from collections.abc import Callable
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vidtldr.hosts.clip import CLIPHost
from vidtldr.hosts.host import Attend, Attended, AttentionFlops

__all__ = ["XCLIPHost"]


class XCLIPHost(CLIPHost):
    """`XCLIPVisionModel` and `XCLIPModel`, whose text and frame encoders are not touched.

    `XCLIPModel` averages patch k of all frames for its prompts, so it needs the grid.
    """

    family = "X-CLIP (transformers)"
    modeling = "transformers.models.x_clip.modeling_x_clip"
    prefix = "XCLIP"
    grid_classes: ClassVar[tuple[str, ...]] = ()
    grid_only_classes = (f"{modeling}.XCLIPModel",)

    @classmethod
    def of(cls, root: Any) -> Self:
        """The host of a vision tower; its tokens are those of one frame."""
        num_tokens, num_frames = 1 + root.embeddings.num_patches, root.config.num_frames
        return cls(root, root.encoder.layers, 1, num_tokens, batch_multiple=num_frames)

    @staticmethod
    def attention_half(block: Any, x: Tensor, attend: Attend) -> Attended:
        """`XCLIPVisionEncoderLayer.forward` up to where it drops the messages."""
        num_tokens = x.shape[1]
        x = torch.cat([x, _messages(block, x[:, 0])], dim=1)
        x, score, keys = CLIPHost.attention_half(block, x, attend)
        score = None if score is None else score[:, :num_tokens]
        return Attended(x[:, :num_tokens], score, keys[:, :, :num_tokens])

    @staticmethod
    def mass_of_keys(block: nn.Module, mass: Tensor) -> Tensor:
        """The message behind the tokens has mass 1."""
        return F.pad(mass, (0, 1), value=1.0)

    @classmethod
    def attention_flops(cls, block: Any, linear_flops: Callable[..., int]) -> AttentionFlops:
        """Of N tokens and a message, which attends to those of all frames before."""
        heads, channels, mlp = cls.sizes(block)
        message = linear_flops(block.message_fc, block.message_attn)
        message += 4 * heads * channels * block.num_frames
        per_pair = 4 * heads * channels
        per_token = linear_flops(block) - linear_flops(*mlp)
        per_token -= linear_flops(block.message_fc, block.message_attn)
        # (N + 1) per_token + (N + 1)^2 per_pair + message
        return AttentionFlops(per_token + per_pair + message, per_token + 2 * per_pair, per_pair)

    @classmethod
    def walked_around(cls, block: Any) -> dict[str, nn.Module]:
        """The layer and the attention of its tokens."""
        return {
            f"{cls.modeling}.XCLIPVisionEncoderLayer": block,
            f"{cls.modeling}.XCLIPAttention": block.self_attn,
        }


def _messages(block: Any, class_tokens: Tensor) -> Tensor:
    """One message a frame, (B, 1, C), from the class tokens (B, C) of all frames of its clip."""
    x = block.message_fc(class_tokens).unflatten(0, (-1, block.num_frames))
    x = x + block.drop_path(block.message_attn(block.message_ln(x))[0])
    messages: Tensor = x.flatten(0, 1).unsqueeze(1)
    return messages
