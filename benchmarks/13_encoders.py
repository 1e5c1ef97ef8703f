"""Encoders of images and clips at 0.6 of the FLOPs, against the unmerged model on fused attention.

Random weights with spread-out attention, float32, 2 threads. Each model is timed in turn with its
merged copies in one run after a warm-up; outputs are compared first. V-JEPA 2 with 64 frames also
merges to a predicted speed-up, as a person does who wants one.

    python benchmarks/13_encoders.py --output benchmarks/results/encoders/PROCESSOR.json
    python benchmarks/13_encoders.py siglip-b16-224 dinov2-b14 --output ...
"""

from dataclasses import dataclass
from functools import partial
from typing import Any

from timed_sides import run_cases, timed_sides

from vidtldr.bench.speed import features_of
from vidtldr.bench.subject import build_subject
from vidtldr.config import MergeConfig

BY_FLOPS = MergeConfig(flop_ratio=0.6, score="sharpness")
BY_SPEED = MergeConfig(speedup=2.1, score="sharpness")


@dataclass(frozen=True)
class Case:
    """A model at one size, and how often it is timed."""

    title: str
    model: str
    image_size: int
    batch: int
    num_frames: int | None = None
    num_rounds: int = 7
    is_tuned: bool = False


CASES = {
    "siglip-b16-224": Case("SigLIP-B/16, 16 frames of 224²", "siglip-b16", 224, 16),
    "siglip-b16-384": Case("SigLIP-B/16, 16 frames of 384²", "siglip-b16", 384, 16, num_rounds=5),
    "dinov2-b14": Case("DINOv2-B/14, one image of 518²", "dinov2-b14", 518, 1, num_rounds=15),
    "vjepa2-l-16": Case("V-JEPA 2 ViT-L, 16 frames of 256²", "vjepa2-l", 256, 1, 16, 5),
    "vjepa2-l-64": Case("V-JEPA 2 ViT-L, 64 frames of 256²", "vjepa2-l", 256, 1, 64, 3, True),
}


def measure(case: Case) -> dict[str, Any]:
    """Measure one model: outputs, FLOPs and times of every side."""
    subject = build_subject(case.model, case.num_frames, case.image_size)
    x = subject.pixel_values(case.batch)
    return timed_sides(
        case.title,
        subject.model,
        lambda model: features_of(model(x)),
        {"0.6 of the FLOPs": BY_FLOPS} | ({"tuned for 2.1x": BY_SPEED} if case.is_tuned else {}),
        input_shape=tuple(x.shape),
        num_rounds=case.num_rounds,
    )


if __name__ == "__main__":
    run_cases(__doc__, {name: partial(measure, case) for name, case in CASES.items()})
