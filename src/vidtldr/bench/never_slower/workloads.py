"""The models of the table, with seeded random weights except for the bundled one.

In test sizes each has the same structure with fewer and smaller layers.

Letters: `T` frames, `S` side of a frame.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from vidtldr.bench.subject import (
    Subject,
    build_subject,
    scaled_schedule,
    spread_out_attention,
)
from vidtldr.bundled import BUNDLED, bundled_merge
from vidtldr.config import MergeConfig, Score
from vidtldr.measure.fork_rng import fork_rng
from vidtldr.models.umt import UMTConfig, build_vision_encoder, load_umt

__all__ = [
    "Workload",
    "at_budget",
    "bundled",
    "sharpened",
    "umt_b",
    "videomae_384",
    "videomae_b",
    "vit_like",
]

FLOP_RATIO, TINY_FLOP_RATIO = 0.6, 0.8  # test sizes have too few layers to merge more
VIDEOMAE_R, VIDEOMAE_TOKENS = (600, 200, 100), 1568
_QUERIES_AND_KEYS = ("query.weight", "key.weight")
_TINY_VIDEOMAE = {
    "image_size": 32,
    "patch_size": 8,
    "num_frames": 4,
    "hidden_size": 48,
    "num_attention_heads": 3,
    "intermediate_size": 96,
}


@dataclass(frozen=True)
class Workload:
    """A model, its input and how it merges.

    Attributes:
        title: Name in tables.
        subject: The model, unpatched, float32, in evaluation mode, and the shape of its input.
        config: The merge.
    """

    title: str
    subject: Subject
    config: MergeConfig

    @property
    def model(self) -> nn.Module:
        """The unpatched model."""
        return self.subject.model

    def pixel_values(self, batch: int, dtype: torch.dtype) -> Tensor:
        """Make seeded random input: (B, T, 3, S, S)."""
        return self.subject.pixel_values(batch).to(dtype)


def umt_b(tiny: bool) -> Workload:
    """UMT-B at the schedule of its MSRVTT preset."""
    if tiny:
        model = _seeded(lambda: build_vision_encoder(_tiny_umt()))
        return _with_schedule("UMT-B, MSRVTT preset", model, (4, 3, 32, 32), scale=2352)
    subject = build_subject("umt-b16")
    config = MergeConfig(preset="umt-b16/msrvtt-retrieval")
    return Workload("UMT-B, MSRVTT preset", subject, config)


def videomae_b(tiny: bool) -> Workload:
    """VideoMAE-B, which loses 57 % of its tokens."""
    if tiny:
        return replace(videomae_384(tiny), title="VideoMAE-B")
    subject = build_subject("videomae-b")
    return Workload("VideoMAE-B", subject, MergeConfig(r=subject.r, score="sharpness"))


def videomae_384(tiny: bool, *, num_layers: int = 12, sharpness: float | None = None) -> Workload:
    """VideoMAE of width 384.

    Args:
        tiny: Whether to build test sizes.
        num_layers: Number of layers, unless `tiny`.
        sharpness: Factor on the default weights of queries and keys; None as in the other models.
    """
    size: dict[str, Any] = {
        "hidden_size": 384,
        "num_hidden_layers": num_layers,
        "num_attention_heads": 6,
        "intermediate_size": 1536,
    }
    sizes = _TINY_VIDEOMAE | {"num_hidden_layers": 4} if tiny else size
    model = _seeded(lambda: _videomae(sizes))
    model = spread_out_attention(model) if sharpness is None else sharpened(model, sharpness)
    shape = (4, 3, 32, 32) if tiny else (16, 3, 224, 224)
    return _with_schedule("VideoMAE, width 384", model, shape, scale=VIDEOMAE_TOKENS)


def bundled(tiny: bool) -> Workload:
    """The bundled model with the merge chosen for it."""
    if tiny:
        return replace(umt_b(tiny), title="bundled model")
    encoder = load_umt(BUNDLED).vision_encoder.eval()
    config = encoder.config
    shape = (config.num_frames, 3, config.image_size, config.image_size)
    merge = bundled_merge()
    return Workload("bundled model", Subject(encoder, shape, tuple(merge.r or ())), merge)


def vit_like(tiny: bool, *, width: int, image_size: int) -> Workload:
    """A 12-layer ViT, as a one-frame ViViT: a class token and patches of 16, as in timm.

    Args:
        tiny: Whether to build test sizes.
        width: Channels, with heads of 64.
        image_size: Side of the image, pixels.
    """
    num_tokens = 1 + (image_size // 16) ** 2
    title = f"ViT of width {width}, {num_tokens} tokens"
    layers, side = (4, 64) if tiny else (12, image_size)
    width = 64 if tiny else width
    model = spread_out_attention(_seeded(lambda: _vivit(width, layers, side)))
    config = MergeConfig(flop_ratio=TINY_FLOP_RATIO if tiny else FLOP_RATIO, score="sharpness")
    return Workload(title, Subject(model, (1, 3, side, side), ()), config)


def at_budget(workload: Workload, way: str, score: Score | None, tiny: bool) -> Workload:
    """Merge a workload's model to 0.6 of its FLOPs instead.

    Args:
        workload: Gives the model; the first part of its title stays.
        way: What merges, in a word.
        score: As in `MergeConfig`.
        tiny: Whether it has test sizes.
    """
    ratio = TINY_FLOP_RATIO if tiny else FLOP_RATIO
    model, _, _ = workload.title.partition(",")
    config = MergeConfig(flop_ratio=ratio, score=score)
    return replace(workload, title=f"{model} at {ratio} of the FLOPs, {way}", config=config)


def sharpened(model: nn.Module, factor: float) -> nn.Module:
    """Scale the query and key weights of a VideoMAE in place, for peaked attention."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith(_QUERIES_AND_KEYS):
                parameter.mul_(factor)
    return model


def _with_schedule(
    title: str, model: nn.Module, input_shape: tuple[int, ...], *, scale: int
) -> Workload:
    r = scaled_schedule(model, VIDEOMAE_R, scale)
    return Workload(title, Subject(model, input_shape, r), MergeConfig(r=r, score="sharpness"))


def _seeded(build: Callable[[], nn.Module]) -> nn.Module:
    with fork_rng(torch.device("cpu")):
        torch.manual_seed(0)
        return build().eval()


def _tiny_umt() -> UMTConfig:
    named = UMTConfig.named("b16")
    return replace(
        named,
        image_size=32,
        patch_size=8,
        num_frames=4,
        hidden_size=48,
        num_layers=4,
        num_heads=3,
        embed_dim=16,
    )


def _videomae(sizes: dict[str, Any]) -> nn.Module:
    from transformers import VideoMAEConfig, VideoMAEForVideoClassification

    model: nn.Module = VideoMAEForVideoClassification(VideoMAEConfig(num_labels=5, **sizes))
    return model


def _vivit(width: int, num_layers: int, image_size: int) -> nn.Module:
    from transformers import VivitConfig, VivitForVideoClassification

    config = VivitConfig(
        image_size=image_size,
        num_frames=1,
        tubelet_size=[1, 16, 16],
        hidden_size=width,
        num_hidden_layers=num_layers,
        num_attention_heads=width // 64,
        intermediate_size=4 * width,
        num_labels=5,
    )
    model: nn.Module = VivitForVideoClassification(config)
    return model
