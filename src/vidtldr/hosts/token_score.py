"""Token scores and merge weights for each choice of `MergeConfig.score` and `weighting`.

Letters: `B` clips, `N` tokens now, `C` channels.
"""

from collections.abc import Callable, Mapping
from math import log2
from types import MappingProxyType

import torch
from torch import Tensor

from vidtldr.config import Score, Weighting
from vidtldr.method.saliency import foreground_mask, masked_saliency, saliency
from vidtldr.ops.attention import AttentionScore

__all__ = ["ATTENTION_SCORES", "WEIGHTINGS", "level_noise", "token_score"]

#: The score requested from attention; scores not listed here need none.
ATTENTION_SCORES: Mapping[Score, AttentionScore] = MappingProxyType(
    {
        "sharpness": "sharpness",
        "flatness": "sharpness",
        "sharpness-per-head": "sharpness-per-head",
        "received": "received",
    }
)

# Sums of `p log p`, which is off by `(1 + log p) dp` where a probability is off by `dp`: in all, by
# the rounding of the entropy and of the probabilities, which sum to 1.
_ENTROPIES: tuple[Score, ...] = ("sharpness", "flatness", "sharpness-per-head")

WEIGHTINGS: Mapping[Weighting, Callable[[Tensor], Tensor | None]] = MappingProxyType(
    {
        "masked-saliency": masked_saliency,
        "saliency": saliency,
        "mask": foreground_mask,
        "mass": lambda score: None,
    }
)


def token_score(
    score: Score | None,
    x: Tensor,
    attention_score: Tensor | None,
    mlp_half: Callable[[Tensor], Tensor],
) -> Tensor | None:
    """Score every token after the attention's residual; higher is more foreground.

    Args:
        score: Which score, or None.
        x: Tokens after attention and its residual, shape (B, N, C).
        attention_score: What attention returned for `ATTENTION_SCORES`, shape (B, N).
        mlp_half: The rest of the block: its MLP and residual.

    Returns:
        Score, shape (B, N), without gradient, float32 or better; None without one.
    """
    if score == "representation-shift":
        return _representation_shift(x, mlp_half)
    if score == "flatness" and attention_score is not None:
        return -attention_score
    return attention_score


def _representation_shift(x: Tensor, mlp_half: Callable[[Tensor], Tensor]) -> Tensor:
    """`‖MLP(LN x) - x‖₂` of each token, (B, N); in training this includes the MLP's dropout.

    Source: Choi et al., ICCV 2025 (Representation Shift).
    """
    with torch.no_grad():
        tokens = x.to(torch.promote_types(x.dtype, torch.float32))
        added = mlp_half(x).to(tokens.dtype) - tokens  # MLP(LN x), without the residual
        shift: Tensor = torch.linalg.vector_norm(added - tokens, dim=-1)
    return shift


def level_noise(score: Tensor, name: Score, dtype: torch.dtype) -> Tensor:
    """Make the score of each clip constant if it varies by no more than rounding.

    Equal scores come out unequal, and stretching them to [0, 1] would turn that into weights. A sum
    of N rounded terms, added in pairs or in many lanes, is off by `1 + log2 N` roundings of its
    size, so a spread below that says nothing.

    Args:
        score: From `token_score`, without prefix tokens, shape (B, N).
        name: Which score it is.
        dtype: Of the tokens. Attention is scored in float32 or better, the MLP in this dtype.

    Returns:
        Score, shape (B, N); a constant clip has its highest score everywhere.
    """
    rounded = dtype if name == "representation-shift" else torch.promote_types(dtype, torch.float32)
    low, high = torch.aminmax(score, dim=-1, keepdim=True)
    size = torch.maximum(high, -low) + (1 if name in _ENTROPIES else 0)
    noise = torch.finfo(rounded).eps * (1 + log2(score.shape[1])) * size
    return torch.where(high - low > noise, score, high)
