"""Which layers should merge: the default method in other layers, on published weights and photos.

The figure is the distance of the patch features from the unmerged ones, as in `vidtldr bench
dense`; it is compared with that of the default's layers, photo by photo. It needs `pip install
'vidtldr[real]'` and takes a few minutes.

    python benchmarks/20_layers.py --output benchmarks/results/20_layers.json
"""

import argparse
from functools import partial
from pathlib import Path
from typing import Any

import torch
from layer_sets import DEFAULT_LAYERS, layer_sets

from vidtldr.baselines.schedules import merging
from vidtldr.bench.dense import run_dense
from vidtldr.bench.dense_model import DenseModel, load_focus_model
from vidtldr.bench.dense_result import DenseRow, mean_figure
from vidtldr.bench.focus_weights import focus_file
from vidtldr.bench.picture_files import find_pictures
from vidtldr.bench.quality_methods import Cell, Method, cell_at
from vidtldr.files import write_json
from vidtldr.hosts.registry import find_host
from vidtldr.measure.environment import environment
from vidtldr.measure.result_store import ResultStore

BUDGETS = (0.8, 0.6, 0.5, 0.4)
SIDE, NUM_FRAMES = 392, 1
FIGURE = "feature_distance"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=Path, help="folder; default: photos of scikit-image")
    parser.add_argument("--output", type=Path, required=True, metavar="FILE")
    args = parser.parse_args()
    model = load_focus_model(focus_file(), SIDE)
    files = find_pictures(args.photos, None)
    result = run_dense(
        model,
        files,
        cells_of(model),
        ResultStore(),
        num_frames=NUM_FRAMES,
        on_step=lambda name, done, total: print(f"\r{name}: {done} of {total}", end=""),
    )
    report = {
        "environment": environment(torch.device("cpu")),
        "num_pictures": len(result.pictures),
        "rows": [compared(row, result.rows) for row in result.rows if row.unreachable is None],
    }
    write_json(args.output, report, indent=1)


def cells_of(model: DenseModel) -> list[Cell]:
    """Return the default method in each set of layers at each budget."""
    backbone = model.backbone
    meet = partial(merging, output="grid")
    return [
        cell_at(backbone, Method(name, meet), layers, budget)
        for budget in BUDGETS
        for name, layers in layer_sets(len(find_host(backbone).blocks)).items()
    ]


def compared(row: DenseRow, rows: tuple[DenseRow, ...]) -> dict[str, Any]:
    """Return a row's mean distance, and its mean paired difference from the default."""
    same_budget = (each for each in rows if each.budget == row.budget)
    default = next(each for each in same_budget if each.method == DEFAULT_LAYERS)
    pairs = zip(row.figures[FIGURE].values, default.figures[FIGURE].values, strict=True)
    known = [(a, b) for a, b in pairs if a is not None and b is not None]
    difference = mean_figure([own - of_default for own, of_default in known])
    assert difference is not None  # there are photos
    return {
        "budget": row.budget,
        "layers": row.method,
        "distance": row.figures[FIGURE].mean,
        "over_default": {"mean": difference.mean, "standard_error": difference.standard_error},
    }


if __name__ == "__main__":
    main()
