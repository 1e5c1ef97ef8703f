"""All scores of all tokens in all layers, the slow way: with whole attention maps in memory.

Letters: `B` clips, `H` heads, `N` tokens, `K` scores.
"""

import torch
from torch import Tensor

from vidtldr.hosts.host import Host
from vidtldr.hosts.registry import find_host
from vidtldr.models.umt.vision import VisionEncoder
from vidtldr.ops.attention import AttentionOutput

__all__ = ["SCORES", "reference_scores", "scores_of_layers"]

#: The names of `MergeConfig.score`, and rollout, which needs the maps of all earlier layers.
SCORES = ("sharpness", "sharpness-per-head", "received", "rollout", "representation-shift")


class RecordingAttention:
    """Attention that keeps its map.

    Attributes:
        attn: Attention probabilities of the last call, shape (B, H, N, N).
    """

    attn: Tensor

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, *, scale: float) -> AttentionOutput:
        """Attend with queries, keys and values of shape (B, H, N, D)."""
        self.attn = (q @ k.transpose(-1, -2) * scale).softmax(dim=-1)
        return AttentionOutput(self.attn @ v, None)


@torch.inference_mode()
def reference_scores(encoder: VisionEncoder, pixel_values: Tensor) -> list[Tensor]:
    """Score the tokens of an unmerged vision encoder; higher should mean foreground.

    Args:
        encoder: The vision encoder, unmerged.
        pixel_values: Normalised clips, shape (B, T, 3, S, S).

    Returns:
        As `scores_of_layers`.
    """
    return scores_of_layers(find_host(encoder), encoder.embed(pixel_values))


@torch.inference_mode()
def scores_of_layers(host: Host, x: Tensor) -> list[Tensor]:
    """Score the tokens of an unmerged model of any family; higher should mean foreground.

    With `A` the attention averaged over heads: `sharpness` is `Σ_j A_ij log A_ij`,
    `sharpness-per-head` the mean over heads of that sum on each head's own map, `received` is
    `mean_i A_ij`, `rollout` the same on the product of `(A + I) / 2` over this and all earlier
    layers, and `representation-shift` is `‖MLP(LN x) - x‖₂`.

    Args:
        host: The model's host; its blocks must need nothing but tokens.
        x: Tokens that enter the first block, shape (B, N, C).

    Returns:
        For each layer the scores in the order of `SCORES`, shape (B, K, N), in the model's dtype.

    Source: Choi et al., CVPR 2024, Eq. 5; Abnar & Zuidema, ACL 2020 (attention rollout); Choi et
    al., ICCV 2025 (representation shift).
    """
    attention = RecordingAttention()
    identity = torch.eye(x.shape[1], dtype=x.dtype, device=x.device)
    rollout, layers = identity, []
    for block in host.blocks:
        half = host.attention_half(block, x, attention).x
        x = host.mlp_half(block, half)
        mean = attention.attn.mean(dim=1)  # (B, N, N)
        rollout = (mean + identity) / 2 @ rollout
        scores = (
            _negative_entropy(mean),
            _negative_entropy(attention.attn).mean(dim=1),
            mean.mean(dim=1),
            rollout.mean(dim=1),
            torch.linalg.vector_norm(x - half - half, dim=-1),  # x is half + MLP(LN half)
        )
        layers.append(torch.stack(scores, dim=1))
    return layers


def _negative_entropy(attn: Tensor) -> Tensor:
    return torch.xlogy(attn, attn).sum(dim=-1)
