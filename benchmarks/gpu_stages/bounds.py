"""Errors of attention against float64, and their bounds.

Letters: `B` clips, `H` heads, `N` tokens, `D` channels a head.
"""

import math
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor

from vidtldr.ops.attention import AttentionOutput, AttentionScore, attend

__all__ = ["Inputs", "errors_of", "is_within"]

LOGIT_DEVIATION = 3


@dataclass(frozen=True)
class Inputs:
    """Queries, keys and values (B, H, N, D), and mass (B, N)."""

    q: Tensor
    k: Tensor
    v: Tensor
    mass: Tensor

    @property
    def scale(self) -> float:
        """Scale of the logits."""
        return float(self.q.shape[-1] ** -0.5)

    @classmethod
    def draw(
        cls,
        shape: tuple[int, int, int, int],
        dtype: torch.dtype,
        device: torch.device,
    ) -> Self:
        """Draw random inputs of shape (B, H, N, D), with the strides of a fused projection."""
        batch, heads, num_tokens, channels = shape
        generator = torch.Generator(device).manual_seed(0)
        fused = (batch, num_tokens, 3, heads, channels)
        qkv = torch.randn(fused, device=device, generator=generator)
        qkv[:, :, 0] *= LOGIT_DEVIATION
        q, k, v = qkv.to(dtype).permute(2, 0, 3, 1, 4).unbind(0)
        mass = torch.rand(batch, num_tokens, device=device, generator=generator)
        return cls(q, k, v, 1 + 9 * mass)

    def last(self) -> Self:
        """Return only the last clip."""
        return type(self)(self.q[-1:], self.k[-1:], self.v[-1:], self.mass[-1:])


def errors_of(
    out: AttentionOutput,
    inputs: Inputs,
    *,
    with_mass: bool,
    score: AttentionScore = "sharpness",
) -> dict[str, float | None]:
    """Return the largest errors of values and score against float64, and their bounds.

    Values may have twice the error of eager attention of the same dtype; a score is a sum of N
    terms of at most log N each, in float32.
    """
    mass = inputs.mass if with_mass else None
    q, k, v = (tensor.double() for tensor in (inputs.q, inputs.k, inputs.v))
    truth = attend(q, k, v, scale=inputs.scale, mass=mass, score=score, impl="reference")
    assert truth.score is not None
    eager_error = (_eager(inputs, mass).double() - truth.x).abs().max()
    rounding = torch.finfo(inputs.v.dtype).eps * v.abs().max()
    score_error = None
    if out.score is not None:
        score_error = (out.score.double() - truth.score).abs().max().item()
    return {
        "x": (out.x.double() - truth.x).abs().max().item(),
        "x_bound": 2 * (eager_error + rounding).item(),
        "score": score_error,
        "score_bound": _score_bound((q @ k.mT * inputs.scale).abs().max().item(), q.shape[2]),
    }


def is_within(errors: dict[str, float | None]) -> bool:
    """Whether both errors are within bounds; NaN is not."""
    pairs: Any = [(errors["x"], errors["x_bound"])]
    if errors["score"] is not None:
        pairs.append((errors["score"], errors["score_bound"]))
    return all(error <= bound for error, bound in pairs)


def _eager(inputs: Inputs, mass: Tensor | None) -> Tensor:
    logits = inputs.q @ inputs.k.mT * inputs.scale
    if mass is not None:
        logits = logits + mass.log().to(logits.dtype)[:, None, None]
    return logits.softmax(-1) @ inputs.v


def _score_bound(largest_logit: float, num_tokens: int) -> float:
    log_n = math.log(num_tokens)
    return 8 * torch.finfo(torch.float32).eps * (largest_logit + log_n + 1) * (1 + log_n)
