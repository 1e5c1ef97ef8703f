"""The models of `06_pipeline.py`, in their own file: another process loads them by name."""

import torch

from vidtldr.bundled import BUNDLED, bundled_merge
from vidtldr.config import MergeConfig
from vidtldr.models.umt import UMTConfig, UMTRetrieval, load_umt
from vidtldr.tasks.clip_reader import umt_reader
from vidtldr.tasks.embed import Embedder, umt_embedder
from vidtldr.tasks.video_features import VideoEncoding

__all__ = ["load"]

MSRVTT_R = (600, 200, 100)


def load(model: str, device: str) -> Embedder:
    """Load the bundled model, or UMT-B with seeded random weights."""
    if model == "bundled":
        umt, merge = load_umt(BUNDLED), bundled_merge()
    else:
        torch.manual_seed(0)
        umt, merge = (
            UMTRetrieval(UMTConfig.named("b16")).eval(),
            MergeConfig(r=MSRVTT_R, score="sharpness"),
        )
    umt = umt.to(device)
    return umt_embedder(VideoEncoding(umt, umt_reader(umt.config), merge))
