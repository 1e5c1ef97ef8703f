"""A small world of coloured shapes: clips without end, with captions, questions and true masks."""

from vidtldr.shapes.factors import Factors
from vidtldr.shapes.world import ShapesClips, ShapesWorld

__all__ = ["Factors", "ShapesClips", "ShapesWorld"]
