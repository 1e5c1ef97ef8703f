"""How the default was chosen: linkage, layers and protection compared at equal FLOPs.

The figure is the distance (1 - cosine) of the bundled model's embeddings, pooled by mass, from the
unmerged ones, on validation clips; it is compared with the default's, clip by clip. The same for
published weights and photos is in `20_layers.py`.

    python benchmarks/19_default.py --output benchmarks/results/19_default.json

With `--cache` it can be stopped at any time, and the same command resumes.
"""

import argparse
from functools import partial
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import torch
from layer_sets import DEFAULT_LAYERS, layer_sets

from vidtldr.baselines.baseline import Merging
from vidtldr.baselines.schedules import merging
from vidtldr.bench.seed_exam import SeedExam
from vidtldr.bench.trained_shapes import load_shapes
from vidtldr.bundled import BUNDLED
from vidtldr.files import write_json
from vidtldr.measure.environment import environment
from vidtldr.measure.result_store import ResultStore

BUDGETS = (0.8, 0.6, 0.4)
NUM_CLIPS, BATCH, SEED = 256, 32, 0
METHODS: dict[str, dict[str, Any]] = {
    "ward": {},
    "cosine": {"linkage": "cosine"},
    "ward, protect 0.3": {"score": "sharpness", "linkage": "ward", "protect": 0.3},
    "ward, protect 1": {"score": "sharpness", "linkage": "ward", "protect": 1.0},
    "cosine, protect 0.3": {"score": "sharpness", "protect": 0.3},
    "vid-TLDR": {"score": "sharpness"},
    "ToMe": {"score": None, "metric": "keys"},
}
DEFAULT = ("ward", DEFAULT_LAYERS)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, required=True, metavar="FILE")
    parser.add_argument("--cache", type=Path, metavar="DIR")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    args = parser.parse_args()
    model = load_shapes(BUNDLED / "model.safetensors").to(getattr(torch, args.dtype))
    exam = SeedExam(model, SEED, "validation", NUM_CLIPS, BATCH)
    store = ResultStore(None if args.cache is None else args.cache / "default.jsonl")
    rows = [
        row
        for budget in BUDGETS
        for layers_name, layers in layer_sets(len(model.vision_encoder.blocks)).items()
        for method in METHODS
        if (row := measure(exam, store, budget, layers_name, layers, method, args.dtype))
    ]
    report = {"environment": environment(torch.device("cpu")), "num_clips": NUM_CLIPS}
    write_json(args.output, {**report, "dtype": args.dtype, "rows": compared(rows)}, indent=1)


def measure(
    exam: SeedExam,
    store: ResultStore,
    budget: float,
    layers_name: str,
    layers: tuple[int, ...],
    method: str,
    dtype: str,
) -> dict[str, Any] | None:
    """Measure one setting on all clips; None if these layers cannot reach the budget."""
    encoder = exam.model.vision_encoder
    try:
        variant = merging(encoder, budget, layers, pooling="mass", **METHODS[method])
    except ValueError:
        return None
    key = {"clips": exam.fingerprint, "dtype": dtype, "setting": variant.to_dict()}
    distances = store.get(key, partial(distances_of, exam, variant))
    print(f"{budget:g} {layers_name:22} {method:20} {fmean(distances):.4f}", flush=True)
    return {"budget": budget, "layers": layers_name, "method": method, "distances": distances}


def distances_of(exam: SeedExam, variant: Merging) -> list[float]:
    """Return the distance, 1 - cosine, of each clip's embedding from the unmerged one."""
    found = exam.encode(variant).embeddings.double()
    unmerged = exam.unmerged_embeddings.double()
    return [round(each, 6) for each in (1 - (found * unmerged).sum(dim=1)).tolist()]


def compared(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Replace distances with their mean and mean paired difference from the default."""
    default = {
        row["budget"]: row["distances"] for row in rows if (row["method"], row["layers"]) == DEFAULT
    }
    shown = []
    for row in rows:
        own = row.pop("distances")
        differences = [a - b for a, b in zip(own, default[row["budget"]], strict=True)]
        error = stdev(differences) / len(differences) ** 0.5
        over = {"mean": fmean(differences), "standard_error": error}
        shown.append({**row, "distance": fmean(own), "over_default": over})
    return shown


if __name__ == "__main__":
    main()
