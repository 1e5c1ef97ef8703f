"""Faster video transformers without training (vid-TLDR, Choi et al., CVPR 2024)."""

__version__ = "0.1.0.dev0"
