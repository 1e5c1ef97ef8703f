"""Merged and unmerged models in torch, ONNX Runtime and OpenVINO, float32, on a CPU.

Random weights with spread-out attention, one clip of 16 (UMT: 12) frames of 224 x 224, 600, 200 and
100 tokens removed. Each engine runs the two models in turn, after its outputs were compared
with torch's. `--precision bf16` adds OpenVINO in bfloat16, with pairs chosen in float32, where the
processor has it.

    python benchmarks/14_exporters.py --output benchmarks/results/exporters/PROCESSOR.json
    python benchmarks/14_exporters.py umt-b16 --rounds 7 --precision f32 bf16 --output ...

Run it in the environment of `make test-export`.
"""

import argparse
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor, nn

from vidtldr.bench.subject import build_subject
from vidtldr.config import MergeConfig
from vidtldr.export import keep_float32
from vidtldr.files import write_json
from vidtldr.measure.busyness import busiest
from vidtldr.measure.environment import environment
from vidtldr.measure.flops import count_flops
from vidtldr.measure.timing import Timing, paired_ratios, time_in_turn
from vidtldr.patch.twin import merged_twin
from vidtldr.tasks.exported.engines import import_openvino, load_graph

openvino = import_openvino()
CPU = torch.device("cpu")
MODELS = ("videomae-b", "umt-b16")
R = (600, 200, 100)
ENGINES = ("torch", "onnxruntime", "openvino")
Run = Callable[[], Tensor]


class Pooled(nn.Module):
    """A model whose only output is its logits or its pooled vector."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixel_values: Tensor) -> Tensor:
        """Pixels (B, T, C, H, W) to logits or a vector a clip."""
        out = self.model(pixel_values)
        pooled: Tensor = out.logits if hasattr(out, "logits") else out.pooled
        return pooled


def in_torch(model: nn.Module, x: Tensor, _: Path, threads: int) -> Run:
    def run() -> Tensor:
        with torch.inference_mode():
            return model(x)

    return run


def in_onnxruntime(model: nn.Module, x: Tensor, folder: Path, threads: int) -> Run:
    path = folder / "model.onnx"
    torch.onnx.export(model, (x,), path, dynamo=True, verbose=False)
    run = load_graph(path, "onnx")
    return lambda: run(x)[0]


def in_openvino(model: nn.Module, x: Tensor, threads: int, precision: str, is_merging: bool) -> Run:
    converted = openvino.convert_model(model, example_input=x, input=[list(x.shape)])
    if precision != "f32" and is_merging:
        converted = keep_float32(converted)
    hints = {"INFERENCE_PRECISION_HINT": precision, "INFERENCE_NUM_THREADS": threads}
    hints |= {"PERFORMANCE_HINT": "LATENCY"}
    compiled = openvino.compile_model(converted, "CPU", hints)
    return lambda: torch.from_numpy(compiled([x.numpy()])[0])


def measure(
    name: str, num_rounds: int, threads: int, precisions: list[str], size: tuple[int, ...]
) -> dict[str, Any]:
    """One model in every engine: outputs first, then times."""
    subject = build_subject(name, *size)
    x = subject.pixel_values(1)
    r = (9, 3, 2) if size else R
    merging = merged_twin(subject.model, MergeConfig(r=r, score="sharpness"))
    models = {"unmerged": Pooled(subject.model).eval(), "merged": Pooled(merging).eval()}
    expected, gflops = {}, {}
    for side, model in models.items():
        gflops[side] = count_flops(in_torch(model, x, Path(), threads)) / 1e9
        expected[side] = in_torch(model, x, Path(), threads)()
    fewer = gflops["unmerged"] / gflops["merged"]
    engines = [("torch", "f32"), ("onnxruntime", "f32")]
    engines += [("openvino", precision) for precision in precisions]
    rows, base = [], None
    for engine, precision in engines:
        with TemporaryDirectory() as folder, torch.no_grad():
            runs: dict[str, Run] = {}
            for side, model in models.items():
                if engine == "openvino":
                    runs[side] = in_openvino(model, x, threads, precision, side == "merged")
                else:
                    make = in_torch if engine == "torch" else in_onnxruntime
                    place = Path(folder) / side
                    place.mkdir()
                    runs[side] = make(model, x, place, threads)
            differences = {
                side: ((run() - expected[side]).norm() / expected[side].norm()).item()
                for side, run in runs.items()
            }
            if precision == "f32":
                # In random clips two of a thousand pairs may be as similar as rounding can tell.
                assert differences["unmerged"] < 1e-4, differences
                assert differences["merged"] < 0.05, differences
            timings = time_in_turn(runs, num_repeats=num_rounds, num_warmups=1, device=CPU)
        base = base or timings["unmerged"]
        rows.append(_row(engine, precision, timings, differences, fewer, base))
        print(rows[-1])
    return {
        "model": name,
        "input_shape": tuple(x.shape),
        "r": r,
        "gflops": gflops,
        "flop_reduction": fewer,
        "engines": rows,
    }


def _row(
    engine: str,
    precision: str,
    timings: dict[str, Timing],
    differences: dict[str, float],
    fewer: float,
    base: Timing,
) -> dict[str, Any]:
    gain = paired_ratios(timings["unmerged"], timings["merged"])
    return {
        "engine": engine,
        "precision": precision,
        "median_ms": {side: timing.median_ms for side, timing in timings.items()},
        "spread_ms": {side: timing.spread_ms for side, timing in timings.items()},
        "times_ms": {side: timing.times_ms for side, timing in timings.items()},
        "speedup": gain,
        "speedup_over_flop_reduction": gain["median"] / fewer,
        "over_torch_unmerged": median(base.times_ms) / timings["merged"].median_ms,
        "relative_difference_from_torch": differences,
        "busy": busiest(timing.busy for timing in timings.values()).to_dict(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("models", nargs="*", help=f"of {', '.join(MODELS)}; all by default")
    parser.add_argument("--rounds", type=int, default=9, help="timed rounds in each engine")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--precision", nargs="+", default=["f32"], choices=("f32", "bf16"))
    parser.add_argument("--smoke", action="store_true", help="a quick run on 4 frames of 64²")
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    has_bfloat16 = "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    if "bf16" in arguments.precision and not has_bfloat16:
        parser.error("--precision bf16 must run on a processor with bfloat16, got one without")
    size = (4, 64) if arguments.smoke else ()
    torch.set_num_threads(arguments.threads)
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    results = []
    for name in arguments.models or MODELS:
        results.append(
            measure(name, arguments.rounds, arguments.threads, arguments.precision, size)
        )
        report = {
            "environment": environment(CPU)
            | {"engines": {engine: version(engine) for engine in ENGINES}},
            "results": results,
        }
        write_json(arguments.output, report)  # kept if a later one is interrupted


if __name__ == "__main__":
    main()
