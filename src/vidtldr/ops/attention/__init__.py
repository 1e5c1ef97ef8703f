"""Attention weighted by mass that can also return a score for every token."""

from vidtldr.ops.attention.api import AttentionOutput, AttentionScore, attend

__all__ = ["AttentionOutput", "AttentionScore", "attend"]
