"""Attention and sharpness on a GPU against fused attention that gives no score.

One layer of UMT-B: 2352 tokens, 12 heads of 64 channels, bfloat16, queries, keys and values as a
fused projection leaves them. Sides: every fused back-end of `scaled_dot_product_attention` that
runs, and `attend(score="sharpness")` with the Triton kernels and blocked. Layers that merge nothing
need mass and no score: for them each back-end with log mass as a bias and folded into one more
channel, and the first kernel alone. Outputs are checked against float64 first; then all sides run
in turn in one process after a warm-up, which also tunes the kernels.

    python benchmarks/04_gpu_attention.py --output benchmarks/results/04_gpu_attention.json
"""

import argparse
import importlib
import json
import math
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from vidtldr.bench.environment import environment
from vidtldr.bench.memory import peak_tensor_bytes
from vidtldr.hosts.timing import paired_ratios, time_in_turn
from vidtldr.ops.attention import AttentionOutput, attend

HEADS, NUM_TOKENS, CHANNELS, DTYPE = 12, 2352, 64, torch.bfloat16
SCALE = CHANNELS**-0.5
NUM_ROUNDS, NUM_WARMUPS = 15, 3
NUM_CALLS = 20  # in one measurement: a single call is too short for the clock of the host
SDPA = {
    "sdpa-flash": SDPBackend.FLASH_ATTENTION,
    "sdpa-cudnn": SDPBackend.CUDNN_ATTENTION,
    "sdpa-efficient": SDPBackend.EFFICIENT_ATTENTION,
}

Side = Callable[[], AttentionOutput]


def make_inputs(batch: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """q, k, v (B, H, N, D) whose logits have a deviation of 3, and masses from 1 to 10."""
    generator = torch.Generator(device).manual_seed(0)
    qkv = torch.randn(batch, NUM_TOKENS, 3, HEADS, CHANNELS, device=device, generator=generator)
    qkv[:, :, 0] *= 3
    q, k, v = qkv.to(DTYPE).permute(2, 0, 3, 1, 4).unbind(0)
    return q, k, v, 1 + 9 * torch.rand(batch, NUM_TOKENS, device=device, generator=generator)


def make_sides(q: Tensor, k: Tensor, v: Tensor, mass: Tensor) -> dict[str, Side]:
    def scored(impl: Any, mass: Tensor | None) -> Side:
        return lambda: attend(q, k, v, scale=SCALE, mass=mass, score="sharpness", impl=impl)

    sides: dict[str, Side] = {}
    for name, backend in SDPA.items():
        sides[name] = fused(backend, lambda: F.scaled_dot_product_attention(q, k, v, scale=SCALE))
        sides[f"{name}-bias-with-mass"] = fused(
            backend, lambda: attend(q, k, v, scale=SCALE, mass=mass).x
        )
        sides[f"{name}-folded-with-mass"] = fused(backend, lambda: folded(q, k, v, mass))
    for impl in ("triton", "blocked"):
        sides |= {impl: scored(impl, None), f"{impl}-with-mass": scored(impl, mass)}
    # The score of single heads comes out of the kernel that attends.
    sides["triton-one-kernel-with-mass"] = lambda: AttentionOutput(
        attend(q, k, v, scale=SCALE, mass=mass, score="sharpness-per-head", impl="triton").x,
        None,
    )
    return sides


def fused(backend: SDPBackend, attention: Callable[[], Tensor]) -> Side:
    def run() -> AttentionOutput:
        with sdpa_kernel(backend):
            return AttentionOutput(attention(), None)

    return run


def folded(q: Tensor, k: Tensor, v: Tensor, mass: Tensor) -> Tensor:
    """Log mass as one more channel of the keys, beside ones of the queries, in a group of eight."""
    group = (*q.shape[:-1], 8)
    ones, logs, zeros = q.new_zeros(group), q.new_zeros(group), q.new_zeros(group)
    ones[..., 0] = 1
    logs[..., 0] = (mass.log() / SCALE)[:, None]
    longer = [torch.cat(pair, dim=-1) for pair in ((q, ones), (k, logs), (v, zeros))]
    return F.scaled_dot_product_attention(*longer, scale=SCALE)[..., : v.shape[-1]]


def keep_what_runs(sides: dict[str, Side]) -> tuple[dict[str, Side], dict[str, str]]:
    """The sides that run here, and why the other back-ends of fused attention do not."""
    refused: dict[str, str] = {}
    for name in [name for name in sides if name.startswith("sdpa")]:
        try:
            sides[name]()
        except RuntimeError as error:
            refused[name] = str(error).splitlines()[0]
    return {name: side for name, side in sides.items() if name not in refused}, refused


def check_outputs(
    sides: dict[str, Side], q: Tensor, k: Tensor, v: Tensor, mass: Tensor
) -> dict[str, dict[str, float | None]]:
    """Errors of the last clip of every side against float64; an error too large ends the run."""
    q, k, v, mass = (tensor[-1:] for tensor in (q, k, v, mass))
    logits = (q.double() @ k.double().mT * SCALE).abs().max().item()
    log_n = math.log(NUM_TOKENS)
    score_bound = 8 * torch.finfo(torch.float32).eps * (logits + log_n + 1) * (1 + log_n)
    errors: dict[str, dict[str, float | None]] = {}
    for name, side in sides.items():
        weigh = mass if name.endswith("with-mass") else None
        fine = [tensor.double() for tensor in (q, k, v)]
        truth = attend(*fine, scale=SCALE, mass=weigh, score="sharpness", impl="reference")
        eager = q @ k.mT * SCALE
        if weigh is not None:
            eager = eager + weigh.log().to(DTYPE)[:, None, None]
        rounding = torch.finfo(DTYPE).eps * v.abs().max().double()
        x_bound = 2 * (((eager.softmax(-1) @ v).double() - truth.x).abs().max() + rounding).item()
        out = side()
        x_error = (out.x[-1:].double() - truth.x).abs().max().item()
        score_error = None
        if out.score is not None:
            score_error = (out.score[-1:].double() - truth.score).abs().max().item()
            assert score_error <= score_bound, (name, score_error, score_bound)
        assert x_error <= x_bound, (name, x_error, x_bound)
        errors[name] = {"x": x_error, "x_bound": x_bound, "score": score_error}
    return errors


def repeat(side: Side) -> Callable[[], None]:
    def run() -> None:
        for _ in range(NUM_CALLS):
            side()

    return run


def measure(batch: int, device: torch.device) -> dict[str, Any]:
    """Everything about one batch size; times are of one call, in milliseconds."""
    q, k, v, mass = make_inputs(batch, device)
    sides, refused = keep_what_runs(make_sides(q, k, v, mass))
    errors = check_outputs(sides, q, k, v, mass)
    runs = {name: repeat(side) for name, side in sides.items()}
    timings = time_in_turn(runs, num_repeats=NUM_ROUNDS, num_warmups=NUM_WARMUPS, device=device)
    times = {
        name: tuple(ms / NUM_CALLS for ms in timing.times_ms) for name, timing in timings.items()
    }
    best = min((name for name in times if name in SDPA), key=lambda name: median(times[name]))
    return {
        "batch": batch,
        "num_heads": HEADS,
        "num_tokens": NUM_TOKENS,
        "channels_per_head": CHANNELS,
        "dtype": str(DTYPE).removeprefix("torch."),
        "best_sdpa": best,
        "refused": refused,
        "sides": {
            name: {
                "median_ms": median(times[name]),
                "fastest_ms": min(times[name]),
                "slowest_ms": max(times[name]),
                "times_ms": times[name],
                "time_over_best_sdpa": paired_ratios(timings[name], timings[best]),
                "peak_tensor_bytes": peak_tensor_bytes(sides[name], device),
                "error": errors[name],
            }
            for name in sides
        },
    }


def environment_of(device: torch.device) -> dict[str, Any]:
    found = environment(device)
    found["versions"] |= {"triton": importlib.import_module("triton").__version__}
    found["versions"] |= {"cuda": torch.version.cuda, "cudnn": torch.backends.cudnn.version()}
    found["note"] = (
        f"ms of one call, from runs of {NUM_CALLS} calls; ratios of neighbouring runs; random input"
    )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 8, 32], help="clips at a time")
    parser.add_argument("--output", type=Path, help="JSON file to write")
    arguments = parser.parse_args()
    if not torch.cuda.is_available():
        raise SystemExit(
            "this benchmark must run on a machine with CUDA, got none. Run it where "
            "torch.cuda.is_available() is True; on a CPU run benchmarks/01_cpu_speed.py."
        )
    device = torch.device("cuda", torch.cuda.current_device())
    results = []
    with torch.inference_mode():
        for batch in arguments.batch:
            results.append(measure(batch, device))
            for name, side in results[-1]["sides"].items():
                print(
                    f"batch {batch:3} {name:30} {side['median_ms']:8.3f} ms "
                    f"({side['fastest_ms']:.3f} to {side['slowest_ms']:.3f})  "
                    f"x{side['time_over_best_sdpa']['median']:.2f} of {results[-1]['best_sdpa']}  "
                    f"peak {side['peak_tensor_bytes'] / 2**20:.0f} MiB",
                    flush=True,
                )
    if arguments.output:
        arguments.output.parent.mkdir(parents=True, exist_ok=True)
        report = {"environment": environment_of(device), "results": results}
        arguments.output.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
