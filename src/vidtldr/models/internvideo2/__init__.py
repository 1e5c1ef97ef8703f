"""InternVideo2 (Wang et al., ECCV 2024): the vision encoders B/14, L/14 and 1B."""

from vidtldr.models.internvideo2.checkpoint import load_internvideo2
from vidtldr.models.internvideo2.config import InternVideo2Config
from vidtldr.models.internvideo2.vision import ClipFeatures, InternVideo2

__all__ = ["ClipFeatures", "InternVideo2", "InternVideo2Config", "load_internvideo2"]
