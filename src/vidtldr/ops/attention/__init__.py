"""Attention with mass that can also return a score of every token."""

from vidtldr.ops.attention.api import (
    AttentionOutput,
    AttentionScore,
    attend,
    scores_by_fused_call,
)

__all__ = ["AttentionOutput", "AttentionScore", "attend", "scores_by_fused_call"]
