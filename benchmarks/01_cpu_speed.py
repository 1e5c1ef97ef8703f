"""Merged against unmerged on a CPU: time, its breakdown, and memory.

Random weights, batch 1, 2 threads. For each model: the unmerged model on fused attention, merged
with `blocked` and merged with `reference` attention, timed in turn in one run after a warm-up; the
share of a merged forward that merging adds; then each side's peak resident memory in its own
process. The last command needs timm.

    python benchmarks/01_cpu_speed.py videomae-b umt-b --output benchmarks/results/01_cpu_speed.json
    python benchmarks/01_cpu_speed.py vit-b --output benchmarks/results/01_cpu_speed_timm.json
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

from vidtldr.bench.resident import peak_above_load, peak_in_fresh_process
from vidtldr.bench.speed import forward_of
from vidtldr.bench.subject import Subject, build_subject
from vidtldr.config import MergeConfig
from vidtldr.measure.environment import environment
from vidtldr.measure.flops import count_flops
from vidtldr.measure.memory import peak_tensor_bytes
from vidtldr.measure.timing import paired_ratios, time_in_turn
from vidtldr.patch.merging_forward import MergingForward
from vidtldr.patch.patching import trace
from vidtldr.patch.twin import merged_twin

NUM_THREADS, NUM_ROUNDS, NUM_WARMUPS = 2, 7, 2
NUM_PROCESSES = 7  # for each peak resident memory
CPU = torch.device("cpu")
SIDES = ("unmerged", "blocked", "reference")
MODELS = {"videomae-b": "videomae-b", "umt-b": "umt-b16", "vit-b": "vit-b"}


def model_of(subject: Subject, side: Any) -> nn.Module:
    if side == "unmerged":
        return subject.model
    return merged_twin(subject.model, MergeConfig(r=subject.r, score="sharpness", impl=side))


def measure(name: str) -> dict[str, Any]:
    """Measure one model: outputs, work, time, the share of merging, and memory."""
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
        "added_share_of_blocked": added_share(runs["blocked"]),
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


def added_share(run: Callable[[], Tensor]) -> dict[str, dict[str, float]]:
    """Measure the share of a forward that merging adds.

    `merge` is masked saliency, matching, merging and the source map; `score` is the extra time of
    scored attention over attention without a score, which is run beside it for comparison and not
    counted.
    """
    inner_merge, inner_attend = MergingForward.merge, MergingForward._attend
    spent = dict.fromkeys(("merge", "score", "beside"), 0.0)

    def timed_merge(*args: Any) -> Any:
        result, seconds = clocked(lambda: inner_merge(*args))
        spent["merge"] += seconds
        return result

    def timed_attend(*args: Any, score: Any, **kwargs: Any) -> Any:
        result, seconds = clocked(lambda: inner_attend(*args, score=score, **kwargs))
        if score is not None:
            _, plain = clocked(lambda: inner_attend(*args, score=None, **kwargs))
            spent["score"] += seconds - plain
            spent["beside"] += plain
        return result

    MergingForward.merge = timed_merge  # type: ignore[method-assign]
    MergingForward._attend = timed_attend  # type: ignore[method-assign, assignment]
    shares: dict[str, list[float]] = {"merge": [], "score": [], "together": []}
    try:
        for _ in range(NUM_WARMUPS + NUM_ROUNDS):
            spent.update(dict.fromkeys(spent, 0.0))
            _, seconds = clocked(run)
            forward = seconds - spent["beside"]
            shares["merge"].append(spent["merge"] / forward)
            shares["score"].append(spent["score"] / forward)
            shares["together"].append((spent["merge"] + spent["score"]) / forward)
    finally:
        MergingForward.merge = inner_merge  # type: ignore[method-assign]
        MergingForward._attend = inner_attend  # type: ignore[method-assign]
    counted = {part: found[NUM_WARMUPS:] for part, found in shares.items()}
    return {
        part: {"median": median(found), "lowest": min(found), "highest": max(found)}
        for part, found in counted.items()
    }


def clocked(call: Callable[[], Any]) -> tuple[Any, float]:
    start = time.perf_counter()
    return call(), time.perf_counter() - start


def resident_peak(name: str, side: str) -> int:
    """Measure peak resident memory above the loaded model's: a median of fresh processes.

    Heap fragmentation makes it vary by a third between processes.
    """
    command = [__file__, name, "--memory-of", side]
    return int(median(peak_in_fresh_process(command) for _ in range(NUM_PROCESSES)))


def print_resident_peak(name: str, side: str) -> None:
    """Measure and print in the fresh process."""
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
        added = {part: share["median"] for part, share in result["added_share_of_blocked"].items()}
        print(
            f"{name:12} merging adds {added['together']:.1%} of the merged forward: "
            f"{added['score']:.1%} the score, {added['merge']:.1%} the rest"
        )
    if arguments.output:
        arguments.output.parent.mkdir(parents=True, exist_ok=True)
        arguments.output.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
