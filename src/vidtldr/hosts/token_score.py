"""What makes a token foreground, for each word of `MergeConfig.score` and `weighting`.

Letters: `B` clips, `N` tokens now, `C` channels.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch
from torch import Tensor

from vidtldr.hosts.config import Score, Weighting
from vidtldr.method.saliency import foreground_mask, masked_saliency, saliency
from vidtldr.ops.attention import AttentionScore

__all__ = ["ATTENTION_SCORES", "WEIGHTINGS", "token_score"]

#: What attention is asked for; a score that is not here needs nothing of it.
ATTENTION_SCORES: Mapping[Score, AttentionScore] = MappingProxyType(
    {
        "sharpness": "sharpness",
        "flatness": "sharpness",
        "sharpness-per-head": "sharpness-per-head",
        "received": "received",
    }
)

WEIGHTINGS: Mapping[Weighting, Callable[[Tensor], Tensor]] = MappingProxyType(
    {"masked-saliency": masked_saliency, "saliency": saliency, "mask": foreground_mask}
)


def token_score(
    score: Score | None,
    x: Tensor,
    attention_score: Tensor | None,
    mlp_half: Callable[[Tensor], Tensor],
) -> Tensor | None:
    """Score every token after the attention's residual; higher is more foreground.

    Args:
        score: Which score; None for none.
        x: Tokens after attention and its residual, shape (B, N, C).
        attention_score: What attention returned for `ATTENTION_SCORES`, shape (B, N).
        mlp_half: The block from there on: its MLP and residual.

    Returns:
        Score, shape (B, N), without gradient, float32 or better; None without one.
    """
    if score == "representation-shift":
        return _representation_shift(x, mlp_half)
    if score == "flatness" and attention_score is not None:
        return -attention_score
    return attention_score


def _representation_shift(x: Tensor, mlp_half: Callable[[Tensor], Tensor]) -> Tensor:
    """`‖MLP(LN x) - x‖₂` of each token, (B, N); in training the MLP's dropout counts, too.

    Source: Choi et al., ICCV 2025 (Representation Shift).
    """
    with torch.no_grad():
        tokens = x.to(torch.promote_types(x.dtype, torch.float32))
        added = mlp_half(x).to(tokens.dtype) - tokens  # MLP(LN x), without the residual
        shift: Tensor = torch.linalg.vector_norm(added - tokens, dim=-1)
    return shift
