"""The work of `vidtldr bench quality` and `bench saliency`."""

import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import typer
from rich.console import Console

from vidtldr.bench.environment import environment
from vidtldr.bench.pareto import plot_quality, require_matplotlib
from vidtldr.bench.quality import QualityOptions, run_quality
from vidtldr.bench.quality_methods import Chosen, placement, plan
from vidtldr.bench.result_store import ResultStore
from vidtldr.bench.saliency_quality import run_saliency
from vidtldr.bench.trained_shapes import load_shapes, load_shapes_encoder
from vidtldr.cli.bench_options import ShapesOptions
from vidtldr.cli.bench_tables import print_quality, print_saliency
from vidtldr.cli.progress import phases, progress
from vidtldr.cli.quiet import quiet_transformers
from vidtldr.cli.text import one_line, printable
from vidtldr.cli.write_output import write_json
from vidtldr.hosts.config import MergeConfig
from vidtldr.shapes.bundled_model import BUNDLED, bundled_merge
from vidtldr.tasks.fingerprint import file_sha256
from vidtldr.tasks.pretrained import resolve_device

__all__ = ["run_quality_job", "run_saliency_job"]

STORE_FILE = "quality.jsonl"
BUNDLED_WEIGHTS = BUNDLED / "model.safetensors"


def run_quality_job(
    weights: Path | None,
    shapes: ShapesOptions,
    options: QualityOptions,
    *,
    budgets: Sequence[float],
    firsts: Sequence[int],
    methods: Collection[str] | None,
    by_budget: Mapping[float, MergeConfig],
    cache: Path | None,
    plot: Path | None,
) -> bool:
    """Measure, print, write and draw.

    Args:
        weights: File; None for the bundled one.
        shapes: Where to run and what to write.
        options: How much to measure.
        budgets: FLOP ratios.
        firsts: First layer of each placement.
        methods: Names of those wanted; None for all.
        by_budget: What was chosen for a budget, instead of the bundled preset's choices.
        cache: Directory of what is measured already; None for none.
        plot: Where to draw; None for nowhere.

    Returns:
        Whether everything that was asked for is there: without matplotlib the plot is not.

    Raises:
        ValueError, OSError: With what is wrong and what to do.
    """
    can_draw = plot is None or _can_draw()
    quiet_transformers()
    file = weights or BUNDLED_WEIGHTS
    model = load_shapes(file).to(resolve_device(shapes.device))
    chosen = Chosen(bundled_merge(), by_budget)
    with phases() as on_step:
        placements = [placement(first) for first in firsts]
        cells = plan(model.vision_encoder, budgets, placements, chosen, methods)
        store = ResultStore(None if cache is None else cache / STORE_FILE)
        result = run_quality(model, cells, options, store, on_step)
    report = {
        "environment": environment(model.temp.device),
        "weights": _describe(weights, file),
        "preset": chosen.to_dict(),
        **result.to_dict(),
    }
    if not shapes.as_json:
        print_quality(Console(highlight=False), result)
    _hand_over(report, shapes)
    if plot is not None and can_draw:
        for drawn in plot_quality(result, plot):
            typer.echo(f"wrote {printable(str(drawn))}", err=True)
    return can_draw


def run_saliency_job(
    weights: Sequence[Path] | None, shapes: ShapesOptions, seeds: Sequence[int]
) -> None:
    """Score, print and write.

    Args:
        weights: Files; None for the bundled one.
        shapes: Which clips, where to run and what to write.
        seeds: Seeds of the world.

    Raises:
        ValueError, OSError: With what is wrong and what to do.
    """
    device, console = resolve_device(shapes.device), Console(highlight=False)
    models = []
    for file in weights or [BUNDLED_WEIGHTS]:
        encoder = load_shapes_encoder(file).to(device)
        described = _describe(file if weights else None, file)
        with progress(described["file"], shapes.clips * len(seeds)) as on_step:
            result = run_saliency(
                encoder,
                num_clips=shapes.clips,
                seeds=seeds,
                split=shapes.split,
                on_step=on_step,
            )
        if not shapes.as_json:
            print_saliency(console, described["file"], result)
        models.append({"weights": described, **result.to_dict()})
    how = {"num_clips": shapes.clips, "seeds": list(seeds), "split": shapes.split}
    _hand_over({"environment": environment(device), "options": how, "models": models}, shapes)


def _can_draw() -> bool:
    """Whether there is matplotlib; says so before the work, not after it, if there is not."""
    try:
        require_matplotlib()
    except ImportError as error:
        typer.echo(f"note: {one_line(str(error))} The rest goes on without it.", err=True)
        return False
    return True


def _describe(typed: Path | None, file: Path) -> dict[str, str]:
    name = "bundled" if typed is None else printable(str(typed))
    return {"file": name, "sha256": file_sha256(file)}


def _hand_over(report: dict[str, Any], shapes: ShapesOptions) -> None:
    if shapes.as_json:
        print(json.dumps(report), flush=True)
    if shapes.output is not None:
        write_json(shapes.output, report)
        typer.echo(f"wrote {printable(str(shapes.output))}", err=True)
