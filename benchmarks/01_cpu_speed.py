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
import platform
import shlex
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn

from vidtldr.bench.comparison import merged_twin
from vidtldr.bench.flops import count_flops
from vidtldr.bench.latency import time_in_turn
from vidtldr.bench.memory import peak_tensor_bytes
from vidtldr.hosts.config import MergeConfig
from vidtldr.hosts.merging_forward import MergingForward
from vidtldr.hosts.patching import trace

NUM_THREADS, NUM_ROUNDS, NUM_WARMUPS = 2, 7, 2
CPU = torch.device("cpu")
SIDES = ("unmerged", "blocked", "reference")


@dataclass(frozen=True)
class Case:
    """A model with random weights, its input and its schedule."""

    build: Callable[[], nn.Module]
    input_shape: tuple[int, ...]
    r: tuple[int, ...]
    output: Callable[[Any], Tensor]


def build_videomae() -> nn.Module:
    from transformers import VideoMAEConfig, VideoMAEForVideoClassification

    return VideoMAEForVideoClassification(VideoMAEConfig(num_labels=400))


def build_umt() -> nn.Module:
    from vidtldr.models.umt import build_vision_encoder

    return build_vision_encoder("b16")


def build_vit() -> nn.Module:
    import timm

    return timm.create_model("vit_base_patch16_224")


CASES = {
    "videomae-b": Case(
        build_videomae, (1, 16, 3, 224, 224), (600, 200, 100), lambda out: out.logits
    ),
    "umt-b": Case(build_umt, (1, 12, 3, 224, 224), (600, 200, 100), lambda out: out.pooled),
    "vit-b": Case(build_vit, (1, 3, 224, 224), (75, 25, 12), lambda out: out),
}


def spread_out_attention(model: nn.Module) -> nn.Module:
    """Make queries and keys larger: default initialisation attends evenly to everything."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith(("query.weight", "key.weight")):
                parameter.mul_(4)
            elif name.endswith("qkv.weight"):
                parameter[: 2 * parameter.shape[1]].mul_(4)
    return model


def prepare(case: Case, side: str) -> tuple[Callable[[], Tensor], nn.Module]:
    """A side's forward and model, the same weights and input for every side."""
    torch.set_num_threads(NUM_THREADS)
    torch.manual_seed(0)
    model = spread_out_attention(case.build().eval())
    x = torch.randn(case.input_shape)
    return forward_of(case, model if side == "unmerged" else merge(case, model, side), x), model


def merge(case: Case, model: nn.Module, impl: Any) -> nn.Module:
    return merged_twin(model, MergeConfig(r=case.r, impl=impl))


def forward_of(case: Case, model: nn.Module, x: Tensor) -> Callable[[], Tensor]:
    def run() -> Tensor:
        with torch.inference_mode():
            return case.output(model(x))

    return run


def measure(name: str) -> dict[str, Any]:
    """Everything about one model: answers, work, time, its share in merging, and memory."""
    case = CASES[name]
    torch.set_num_threads(NUM_THREADS)
    torch.manual_seed(0)
    unmerged = spread_out_attention(case.build().eval())
    x = torch.randn(case.input_shape)
    models = {
        side: unmerged if side == "unmerged" else merge(case, unmerged, side) for side in SIDES
    }
    runs = {side: forward_of(case, model, x) for side, model in models.items()}
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
        "input_shape": case.input_shape,
        "r": case.r,
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
                "speedup": speedup(times["unmerged"], times[side]),
                "peak_tensor_bytes": peak_tensor_bytes(runs[side], CPU),
                "peak_resident_bytes": memory[side],
                "peak_resident_ratio": memory[side] / memory["unmerged"],
            }
            for side in SIDES
        },
    }


def speedup(unmerged_ms: tuple[float, ...], side_ms: tuple[float, ...]) -> dict[str, float]:
    """Ratios of the pairs that ran one after the other."""
    ratios = [a / b for a, b in zip(unmerged_ms, side_ms, strict=True)]
    return {"median": median(ratios), "lowest": min(ratios), "highest": max(ratios)}


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
    command = [sys.executable, __file__, name, "--memory-of", side]
    peaks = [int(subprocess.run(command, check=True, capture_output=True).stdout) for _ in range(3)]
    return int(median(peaks))


def print_resident_peak(name: str, side: str) -> None:
    """In the fresh process: load, reset the kernel's high-water mark, run three times, read it."""
    run, _model = prepare(CASES[name], side)
    Path("/proc/self/clear_refs").write_text("5")
    before = status_bytes("VmRSS")
    for _ in range(3):
        run()
    print(status_bytes("VmHWM") - before)


def status_bytes(field: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise OSError(f"the kernel must report {field}. Run this benchmark on Linux.")


def environment() -> dict[str, Any]:
    def version_of(package: str) -> str | None:
        try:
            return version(package)
        except PackageNotFoundError:
            return None

    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False
    ).stdout.strip()
    changed = subprocess.run(
        ["git", "status", "--porcelain", "src"], capture_output=True, text=True, check=False
    ).stdout
    return {
        "command": shlex.join(["python", *sys.argv]),
        "commit": commit + (" with changes" if changed.strip() else ""),
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "cpu": cpu_name(),
        "num_threads": NUM_THREADS,
        "versions": {
            name: version_of(name) for name in ("vidtldr", "torch", "transformers", "timm")
        },
        "note": "1 MAC = 2 FLOPs; speed-ups are ratios of neighbouring runs; random weights",
    }


def cpu_name() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("models", nargs="+", choices=CASES)
    parser.add_argument("--output", type=Path, help="JSON file to write")
    parser.add_argument("--memory-of", choices=SIDES, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.memory_of:
        print_resident_peak(arguments.models[0], arguments.memory_of)
        return
    report = {"environment": environment(), "results": []}
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
