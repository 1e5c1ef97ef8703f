"""TimeSformer-B with whole tubes merged, against the model unmerged: FLOPs, parts, and time.

Random weights, one clip of 8 frames of 224 x 224, float32, 2 threads, 0.6 of the FLOPs. The model
of transformers stores its attention maps; `fused` is the same model with fused attention within
frames, which is the side to beat. FLOPs are counted by running each side, the shares of its parts
come from a profile. Times, only with `--rounds`, are taken in turn in one run.

    python benchmarks/12_divided_attention.py --output benchmarks/results/12_divided_attention.json
    python benchmarks/12_divided_attention.py --rounds 7 --output ...
"""

import argparse
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.profiler import ProfilerActivity, profile, record_function
from transformers import TimesformerConfig, TimesformerForVideoClassification

import vidtldr
from vidtldr.bench.subject import spread_out_attention
from vidtldr.hosts.registry import find_host
from vidtldr.measure.environment import environment
from vidtldr.measure.flops import count_flops
from vidtldr.measure.timing import paired_ratios, time_in_turn
from vidtldr.ops.attention import AttentionOutput
from vidtldr.patch.merging_forward import MergingForward
from vidtldr.patch.twin import merged_twin, twin

NUM_THREADS, NUM_WARMUPS, NUM_PROFILES, BUDGET = 2, 2, 3, 0.6
CPU = torch.device("cpu")
PARTS = {
    "linear layers": ("aten::addmm", "aten::mm", "aten::convolution", "aten::mkldnn_convolution"),
    "attention": (
        "aten::bmm",
        "aten::baddbmm",
        "aten::_softmax",
        "aten::_scaled_dot_product_flash_attention_for_cpu",
        "aten::mul",  # of the scale, in transformers' attention
    ),
}


def models() -> dict[str, nn.Module]:
    torch.manual_seed(0)
    config = TimesformerConfig(num_frames=8, image_size=224)
    unmerged = spread_out_attention(TimesformerForVideoClassification(config)).eval()
    return {
        "unmerged": unmerged,
        "fused": fused_twin(unmerged),
        "merged": merged_twin(unmerged, vidtldr.MergeConfig(flop_ratio=BUDGET, score="sharpness")),
    }


def fused_twin(model: nn.Module) -> nn.Module:
    """Copy the model; attention within frames is fused."""
    copied = twin(model)
    host = find_host(copied)

    def forward_of(block: nn.Module) -> Callable[..., tuple[Tensor]]:
        def forward(x: Tensor, *_: Any) -> tuple[Tensor]:
            return (host.mlp_half(block, host.attention_half(block, x, fused_attention).x),)

        return forward

    for block in host.blocks:
        block.__dict__["forward"] = forward_of(block)
    return copied


def fused_attention(q: Tensor, k: Tensor, v: Tensor, *, scale: float) -> AttentionOutput:
    return AttentionOutput(F.scaled_dot_product_attention(q, k, v, scale=scale), None)


@contextmanager
def named_merges() -> Iterator[None]:
    """Let a profile show merging by name."""
    inner = MergingForward.merge

    def merge(*args: Any) -> Any:
        with record_function("merging"):
            return inner(*args)

    MergingForward.merge = merge  # type: ignore[method-assign]
    try:
        yield
    finally:
        MergingForward.merge = inner  # type: ignore[method-assign]


def profile_of(run: Callable[[], object]) -> tuple[float, dict[str, Any]]:
    """Time in all operators of one forward, and its events by name."""
    with named_merges(), profile(activities=[ProfilerActivity.CPU]) as profiled:
        run()
    events = {event.key: event for event in profiled.key_averages()}
    return sum(event.self_cpu_time_total for event in events.values()), events


def shares_of(run: Callable[[], object]) -> dict[str, float]:
    """Shares of a forward by part; operators that belong to none are `other`.

    Of the profile that took the least time: the one that others disturbed least.
    """
    total, events = min((profile_of(run) for _ in range(NUM_PROFILES)), key=lambda found: found[0])
    shares = {
        part: sum(events[name].self_cpu_time_total for name in names if name in events) / total
        for part, names in PARTS.items()
    }
    # `vidtldr` names its own kernels; scored attention without one is made of the operators above.
    own = sum(e.self_cpu_time_total for key, e in events.items() if key.startswith("vidtldr"))
    shares["attention"] += own / total
    merging = events["merging"].cpu_time_total / total if "merging" in events else 0.0
    shares["merging (part of the others)"] = merging
    shares["other"] = 1 - shares["linear layers"] - shares["attention"]
    return shares


@torch.inference_mode()
def measure(num_rounds: int) -> dict[str, Any]:
    torch.set_num_threads(NUM_THREADS)
    clip = torch.randn(1, 8, 3, 224, 224)
    sides = models()
    runs: dict[str, Callable[[], Tensor]] = {
        side: lambda model=model: model(pixel_values=clip).logits for side, model in sides.items()
    }
    logits = {side: run() for side, run in runs.items()}
    assert torch.allclose(logits["fused"], logits["unmerged"], atol=1e-4)
    gflops = {side: count_flops(run) / 1e9 for side, run in runs.items()}
    described = vidtldr.describe(sides["merged"])
    result: dict[str, Any] = {
        "model": "TimeSformer-B",
        "input_shape": tuple(clip.shape),
        "dtype": "float32",
        "r": described.r,
        "num_tokens": described.tokens_after_layers,
        "flop_ratio": gflops["merged"] / gflops["unmerged"],
        "sides": {
            side: {"gflops": gflops[side], "shares": shares_of(run)} for side, run in runs.items()
        },
    }
    if num_rounds:
        timings = time_in_turn(runs, num_repeats=num_rounds, num_warmups=NUM_WARMUPS, device=CPU)
        for side, timing in timings.items():
            result["sides"][side] |= {
                "median_ms": median(timing.times_ms),
                "times_ms": timing.times_ms,
                "speedup_over_fused": paired_ratios(timings["fused"], timing),
                "busy": timing.busy.to_dict(),
            }
        gain = result["sides"]["merged"]["speedup_over_fused"]["median"]
        result["speedup_over_flop_reduction"] = gain * result["flop_ratio"]
    return result


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=0, help="timed rounds; 0 takes no times")
    parser.add_argument("--output", type=Path, help="JSON file to write")
    arguments = parser.parse_args()
    report = {"environment": environment(CPU), "result": measure(arguments.rounds)}
    print(json.dumps(report["result"], indent=1))
    if arguments.output:
        arguments.output.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
