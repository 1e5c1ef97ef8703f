"""Encoders of images and clips at 0.6 of the FLOPs, against the unmerged model on fused attention.

Random weights with spread-out attention, float32, 2 threads. Each model is timed in turn with its
merged copies in one run after a warm-up; outputs are compared first. V-JEPA 2 with 64 frames also
merges to a predicted speed-up, as a person does who wants one.

    python benchmarks/13_encoders.py --output benchmarks/results/encoders/PROCESSOR.json
    python benchmarks/13_encoders.py siglip-b16-224 dinov2-b14 --output ...
"""

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vidtldr.bench.speed import forward_of
from vidtldr.bench.subject import build_subject
from vidtldr.budget.counts import resolve_budget
from vidtldr.config import MergeConfig
from vidtldr.files import write_json
from vidtldr.hosts.registry import find_host
from vidtldr.measure.busyness import busiest
from vidtldr.measure.environment import environment
from vidtldr.measure.flops import count_flops
from vidtldr.measure.timing import paired_ratios, time_in_turn
from vidtldr.patch.twin import merged_twin

NUM_THREADS = 2
CPU = torch.device("cpu")
BY_FLOPS = MergeConfig(flop_ratio=0.6)
BY_SPEED = MergeConfig(speedup=2.1)


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
    host = find_host(subject.model)
    asked = {"0.6 of the FLOPs": BY_FLOPS} | ({"tuned for 2.1x": BY_SPEED} if case.is_tuned else {})
    configs = {name: resolve_budget(config, host) for name, config in asked.items()}
    twins = {name: merged_twin(subject.model, config) for name, config in configs.items()}
    runs = {name: forward_of(m, x) for name, m in ({"unmerged": subject.model} | twins).items()}
    outputs: dict[str, Tensor] = {}
    gflops = {
        name: count_flops(lambda name=name, run=run: outputs.update({name: run()})) / 1e9
        for name, run in runs.items()
    }
    assert all(output.isfinite().all() for output in outputs.values())
    timings = time_in_turn(runs, num_repeats=case.num_rounds, num_warmups=0, device=CPU)
    sides = []
    for name, timing in timings.items():
        side: dict[str, Any] = {
            "side": name,
            "gflops": gflops[name],
            "median_ms": timing.median_ms,
            "times_ms": timing.times_ms,
        }
        if name != "unmerged":
            speedup = paired_ratios(timings["unmerged"], timing)
            fewer = gflops["unmerged"] / gflops[name]
            drift = (outputs[name] - outputs["unmerged"]).norm() / outputs["unmerged"].norm()
            side |= {
                "r": configs[name].r,
                "speedup": speedup,
                "flop_reduction": fewer,
                "speedup_over_flop_reduction": speedup["median"] / fewer,
                "drift": drift.item(),
            }
        sides.append(side)
    return {
        "title": case.title,
        "num_tokens": host.num_tokens,
        "input_shape": tuple(x.shape),
        "dtype": "float32",
        "sides": sides,
        "busy": busiest(timing.busy for timing in timings.values()).to_dict(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cases", nargs="*", help=f"of {', '.join(CASES)}; all by default")
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    torch.set_num_threads(NUM_THREADS)
    results = []
    for name in arguments.cases or CASES:
        results.append(measure(CASES[name]))
        report = {"environment": environment(CPU), "results": results}
        write_json(arguments.output, report)  # kept if a later one is interrupted
        for side in results[-1]["sides"]:
            print(results[-1]["title"], {k: v for k, v in side.items() if k != "times_ms"})


if __name__ == "__main__":
    main()
