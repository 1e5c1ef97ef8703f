"""A model and its merged copies on one input: outputs, FLOPs, and times in turn, ready for JSON."""

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vidtldr.config import MergeConfig
from vidtldr.files import write_json
from vidtldr.measure.busyness import busiest
from vidtldr.measure.environment import environment
from vidtldr.measure.flops import count_flops
from vidtldr.measure.timing import paired_ratios, time_in_turn
from vidtldr.patch.patching import trace
from vidtldr.patch.twin import merged_twin

__all__ = ["run_cases", "timed_sides"]

NUM_THREADS = 2
CPU = torch.device("cpu")


def timed_sides(
    title: str,
    model: nn.Module,
    forward: Callable[[nn.Module], Tensor],
    asked: Mapping[str, MergeConfig],
    *,
    input_shape: tuple[int, ...],
    num_rounds: int,
) -> dict[str, Any]:
    """Measure a model unmerged and merged, after a warm-up in which outputs are compared.

    Args:
        title: The model and its input, in words.
        model: Unpatched, on the CPU.
        forward: Runs it, or a copy, and returns one tensor.
        asked: What to merge, by name.
        input_shape: Of what it is given.
        num_rounds: Timed rounds.
    """
    models = {"unmerged": model, **{name: merged_twin(model, c) for name, c in asked.items()}}
    outputs: dict[str, Tensor] = {}
    num_tokens: dict[str, list[int]] = {}

    def run(name: str) -> None:
        with torch.inference_mode():
            outputs[name] = forward(models[name])

    gflops = {}
    for name, side in models.items():
        with trace(side) as recorded:
            gflops[name] = count_flops(lambda name=name: run(name)) / 1e9
        num_tokens[name] = recorded.num_tokens
    assert all(output.isfinite().all() for output in outputs.values())
    runs = {name: lambda name=name: run(name) for name in models}
    timings = time_in_turn(runs, num_repeats=num_rounds, num_warmups=0, device=CPU)
    sides = []
    for name, timing in timings.items():
        side = {
            "side": name,
            "gflops": gflops[name],
            "median_ms": timing.median_ms,
            "times_ms": timing.times_ms,
            "num_tokens": num_tokens[name],
        }
        if name != "unmerged":
            speedup = paired_ratios(timings["unmerged"], timing)
            fewer = gflops["unmerged"] / gflops[name]
            drift = (outputs[name] - outputs["unmerged"]).norm() / outputs["unmerged"].norm()
            side |= {
                "speedup": speedup,
                "flop_reduction": fewer,
                "speedup_over_flop_reduction": speedup["median"] / fewer,
                "drift": drift.item(),
            }
        sides.append(side)
    return {
        "title": title,
        "num_tokens": num_tokens["unmerged"][0],
        "input_shape": input_shape,
        "dtype": "float32",
        "sides": sides,
        "busy": busiest(timing.busy for timing in timings.values()).to_dict(),
    }


def run_cases(description: str | None, cases: Mapping[str, Callable[[], dict[str, Any]]]) -> None:
    """Run the cases named on the command line, or all, and write what each measured."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("cases", nargs="*", help=f"of {', '.join(cases)}; all by default")
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    torch.set_num_threads(NUM_THREADS)
    torch.manual_seed(0)
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    results = []
    for name in arguments.cases or cases:
        results.append(cases[name]())
        report = {"environment": environment(CPU), "results": results}
        write_json(arguments.output, report)  # kept if a later one is interrupted
        for side in results[-1]["sides"]:
            print(results[-1]["title"], {k: v for k, v in side.items() if k != "times_ms"})
