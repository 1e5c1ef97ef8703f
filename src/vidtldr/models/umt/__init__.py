"""UMT (Unmasked Teacher, Li et al., ICCV 2023): text-video retrieval and question answering."""

from vidtldr.models.umt.answering import RankedAnswers, UMTAnswering
from vidtldr.models.umt.checkpoint import convert_checkpoint, load_umt
from vidtldr.models.umt.config import UMTConfig
from vidtldr.models.umt.retrieval import TextFeatures, UMTRetrieval
from vidtldr.models.umt.vision import VideoFeatures, VideoTokens, build_vision_encoder

__all__ = [
    "RankedAnswers",
    "TextFeatures",
    "UMTAnswering",
    "UMTConfig",
    "UMTRetrieval",
    "VideoFeatures",
    "VideoTokens",
    "build_vision_encoder",
    "convert_checkpoint",
    "load_umt",
]
