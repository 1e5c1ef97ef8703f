"""Attention with mass that can also return a score of every token."""

from vidtldr.ops.attention.api import AttentionOutput, attend

__all__ = ["AttentionOutput", "attend"]
