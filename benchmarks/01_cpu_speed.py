"""Merged against unmerged on a CPU: time, where it goes, and memory.

Random weights, batch 1, 2 threads. For each model: the unmerged model on fused attention, merged
    with
`blocked` and merged with `reference` attention, in turn in one run after a warm-up; then each
side's peak of resident memory in a process of its own.

    python benchmarks/01_cpu_speed.py videomae-b umt-b --output benchmarks/results/01_cpu_speed.json
    python benchmarks/01_cpu_speed.py vit-b --output benchmarks/results/01_cpu_speed_timm.json   #
    needs timm
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn

from vidtldr.bench.environment import environment
from vidtldr.bench.flops import count_flops
from vidtldr.bench.latency import paired_ratios, time_in_turn
from vidtldr.bench.memory import peak_tensor_bytes
from vidtldr.bench.resident import peak_above_load, peak_in_fresh_process
from vidtldr.bench.speed import forward_of
from vidtldr.bench.subject import Subject, build_subject
from vidtldr.hosts.config import MergeConfig
from vidtldr.hosts.merging_forward import MergingForward
from vidtldr.hosts.patching import trace
from vidtldr.hosts.twin import merged_twin

NUM_THREADS, NUM_ROUNDS, NUM_WARMUPS = 2, 7, 2
CPU = torch.device("cpu")
SIDES = ("unmerged", "blocked", "reference")
MODELS = {"videomae-b": "videomae-b", "umt-b": "umt-b16", "vit-b": "vit-b"}


def model_of(subject: Subject, side: Any) -> nn.Module:
    if side == "unmerged":
        return subject.model
    return merged_twin(subject.model, MergeConfig(r=subject.r, impl=side))


def measure(name: str) -> dict[str, Any]:
    """Everything about one model: answers, work, time, its share in merging, and memory."""
    torch.set_num_threads(NUM_THREADS)
    subject = build_subject(MODELS[name])
    x = subject.pixel_values(1)
    models = {side: model_of(subject, side) for side in SIDES}
    runs = {side: forward_of(model, x) for side, model in models.items()}
    outputs = {side: run() for side, run in runs.items()}
    difference = (outputs["blocked"] - outputs["reference"]).abs().max().item()
    assert all(output.isfinite().all() for output in outputs.values())
    assert difference <= 1e-3 * outputs["reference"].abs().max().item(), difference
    tokens = {side: num_tokens(model, runs[side]) for side, model in models.items()}
    timings = time_in_turn(runs, num_repeats=NUM_ROUNDS, num_warmups=NUM_WARMUPS, device=CPU)
    times = {side: timing.times_ms for side, timing in timings.items()}
    memory = {side: resident_peak(name, side) for side in SIDES}
    return {
        "model": name,
        "input_shape": tuple(x.shape),
        "r": subject.r,
        "dtype": "float32",
        "largest_difference_blocked_reference": difference,
        "merging_share_of_blocked": merging_share(runs["blocked"]),
        "sides": {
            side: {
                "num_tokens": tokens[side],
                "gflops": count_flops(runs[side]) / 1e9,
                "median_ms": median(times[side]),
                "fastest_ms": min(times[side]),
                "slowest_ms": max(times[side]),
                "times_ms": times[side],
                "speedup": paired_ratios(timings["unmerged"], timings[side]),
                "peak_tensor_bytes": peak_tensor_bytes(runs[side], CPU),
                "peak_resident_bytes": memory[side],
                "peak_resident_ratio": memory[side] / memory["unmerged"],
            }
            for side in SIDES
        },
    }


def num_tokens(model: nn.Module, run: Callable[[], Tensor]) -> list[int]:
    with trace(model) as recorded:
        run()
    return recorded.num_tokens


def merging_share(run: Callable[[], Tensor]) -> dict[str, float]:
    """The share of a forward that goes into masked saliency, matching and merging together."""
    inner, spent = MergingForward.merge, 0.0

    def timed(*args: Any) -> Any:
        nonlocal spent
        start = time.perf_counter()
        result = inner(*args)
        spent += time.perf_counter() - start
        return result

    MergingForward.merge = timed  # type: ignore[method-assign]
    shares = []
    try:
        for _ in range(NUM_WARMUPS + NUM_ROUNDS):
            spent, start = 0.0, time.perf_counter()
            run()
            shares.append(spent / (time.perf_counter() - start))
    finally:
        MergingForward.merge = inner  # type: ignore[method-assign]
    shares = shares[NUM_WARMUPS:]
    return {"median": median(shares), "lowest": min(shares), "highest": max(shares)}


def resident_peak(name: str, side: str) -> int:
    """Peak of resident memory above the loaded model's, in a fresh process; median of three."""
    return int(
        median(peak_in_fresh_process([__file__, name, "--memory-of", side]) for _ in range(3))
    )


def print_resident_peak(name: str, side: str) -> None:
    """In the fresh process."""
    torch.set_num_threads(NUM_THREADS)
    subject = build_subject(MODELS[name])
    print(peak_above_load(forward_of(model_of(subject, side), subject.pixel_values(1)), CPU))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("models", nargs="+", choices=MODELS)
    parser.add_argument("--output", type=Path, help="JSON file to write")
    parser.add_argument("--memory-of", choices=SIDES, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.memory_of:
        print_resident_peak(arguments.models[0], arguments.memory_of)
        return
    report = {"environment": environment(CPU), "results": []}
    for name in arguments.models:
        result = measure(name)
        report["results"].append(result)
        for side in SIDES:
            s = result["sides"][side]
            print(
                f"{name:12} {side:10} {s['median_ms']:7.0f} ms  {s['speedup']['median']:.2f}x  "
                f"{s['gflops']:6.1f} GFLOPs"
                f"  resident peak x{s['peak_resident_ratio']:.2f}",
                flush=True,
            )
        print(
            f"{name:12} merging takes {result['merging_share_of_blocked']['median']:.1%} "
            "of the merged forward"
        )
    if arguments.output:
        arguments.output.parent.mkdir(parents=True, exist_ok=True)
        arguments.output.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
