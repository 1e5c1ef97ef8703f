"""vid-TLDR, one file per step: saliency, matching, merging, source maps.

Pure functions on tensors, independent of any model or attention kernel.
"""
