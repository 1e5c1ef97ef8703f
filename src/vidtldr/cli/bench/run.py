"""Implementation of `vidtldr bench quality`, `saliency` and `paths`."""

import json
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import torch
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from vidtldr.baselines.schedules import placements
from vidtldr.bench.attention_paths import PathTimes, measure_paths
from vidtldr.bench.pareto import quality_plot
from vidtldr.bench.quality import run_quality
from vidtldr.bench.quality_methods import plan
from vidtldr.bench.quality_options import QualityOptions
from vidtldr.bench.saliency_plot import saliency_plot
from vidtldr.bench.saliency_quality import SaliencyResult, run_saliency
from vidtldr.bench.trained_shapes import load_shapes, load_shapes_encoder
from vidtldr.bundled import BUNDLED
from vidtldr.cli.bench.options import ShapesOptions
from vidtldr.cli.bench.pages import hand_over, missing_extras, quality_page, saliency_page
from vidtldr.cli.bench.quality_tables import print_quality
from vidtldr.cli.bench.tables import print_saliency
from vidtldr.cli.output_options import ResultOptions
from vidtldr.cli.terminal import phases, plain_table, printable, progress
from vidtldr.files import write_json
from vidtldr.measure.busyness import busiest
from vidtldr.measure.environment import environment
from vidtldr.measure.result_store import ResultStore
from vidtldr.measure.timing import Timing
from vidtldr.tasks.fingerprint import file_sha256
from vidtldr.tasks.pretrained import resolve_device
from vidtldr.tasks.quiet import quiet_transformers

__all__ = ["run_paths_job", "run_quality_job", "run_saliency_job"]

STORE_FILE = "quality.jsonl"
BUNDLED_WEIGHTS = BUNDLED / "model.safetensors"


def run_quality_job(
    weights: Path | None,
    shapes: ShapesOptions,
    wanted: ResultOptions,
    options: QualityOptions,
    *,
    budgets: Sequence[float],
    firsts: Sequence[int],
    methods: Collection[str] | None,
    cache: Path | None,
    dtype: str = "float32",
    num_jobs: int = 1,
) -> bool:
    """Measure quality, then print, write and plot the results.

    Args:
        weights: File of weights; None for the bundled one.
        shapes: Where to run.
        wanted: What to write.
        options: Options of the measurement.
        budgets: FLOP ratios.
        firsts: First layer of each placement.
        methods: Names of the methods to run; None for all.
        cache: Directory of stored measurements; None for none.
        dtype: Name of the dtype of weights and clips.
        num_jobs: Number of processes that measure.

    Returns:
        Whether every requested output was written; without matplotlib there is no plot.

    Raises:
        ValueError, OSError: If an argument, a file or an extra is missing or invalid.
    """
    missing = missing_extras(wanted)
    quiet_transformers()
    file = weights or BUNDLED_WEIGHTS
    model = load_shapes(file).to(resolve_device(shapes.device), getattr(torch, dtype))
    with phases() as on_step:
        layers = placements(firsts, len(model.vision_encoder.blocks))
        cells = plan(model.vision_encoder, budgets, layers, methods)
        store = ResultStore(None if cache is None else cache / STORE_FILE)
        result = run_quality(model, cells, options, store, on_step, num_jobs=num_jobs)
    report = {
        "environment": environment(model.temp.device),
        "weights": _describe(weights, file),
        "dtype": dtype,
        "num_jobs": num_jobs,
        **result.to_dict(),
    }
    if not wanted.as_json:
        print_quality(Console(highlight=False), result)
    hand_over(report, wanted, missing, quality_plot(result), quality_page(report, result))
    return not missing


def run_saliency_job(
    weights: Sequence[Path] | None,
    shapes: ShapesOptions,
    wanted: ResultOptions,
    seeds: Sequence[int],
) -> bool:
    """Score tokens, then print, write and plot the results.

    Args:
        weights: Files of weights; None for the bundled one.
        shapes: Which clips, and where to run.
        wanted: What to write.
        seeds: Seeds of the world.

    Returns:
        Whether every requested output was written.

    Raises:
        ValueError, OSError: If an argument, a file or an extra is missing or invalid.
    """
    missing = missing_extras(wanted)
    device, console = resolve_device(shapes.device), Console(highlight=False)
    models: list[dict[str, Any]] = []
    results: dict[str, SaliencyResult] = {}
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
        if not wanted.as_json:
            print_saliency(console, described["file"], result)
        models.append({"weights": described, **result.to_dict()})
        results[described["file"]] = result
    how = {"num_clips": shapes.clips, "seeds": list(seeds), "split": shapes.split}
    report = {"environment": environment(device), "options": how, "models": models}
    hand_over(report, wanted, missing, saliency_plot(results), saliency_page(report, results))
    return not missing


def _describe(typed: Path | None, file: Path) -> dict[str, str]:
    name = "bundled" if typed is None else printable(str(typed))
    return {"file": name, "sha256": file_sha256(file)}


def run_paths_job(
    dtypes: Sequence[str],
    tokens: Sequence[int],
    *,
    num_heads: int,
    channels: int,
    batch: int,
    device: str,
    threads: int | None,
    rounds: int,
    output: Path | None,
    as_json: bool,
) -> None:
    """Measure, print and write the requested output.

    Raises:
        ValueError: If this machine does not have the device.
        FloatingPointError: If two paths give different values.
    """
    place = resolve_device(device)
    if threads is not None:
        torch.set_num_threads(threads)
    with progress("attention", 2 * len(dtypes) * len(tokens)) as step:
        found = list(
            measure_paths(
                dtypes=[getattr(torch, name) for name in dtypes],
                tokens=list(tokens),
                num_heads=num_heads,
                channels=channels,
                batch=batch,
                device=place,
                num_rounds=rounds,
                on_step=step,
            )
        )
    setting = {"num_heads": num_heads, "channels": channels, "batch": batch}
    report = {
        "environment": environment(place),
        "setting": setting,
        "rows": [each.to_dict() for each in found],
    }
    if output is not None:
        write_json(output, report)
    if as_json:
        typer.echo(json.dumps(report))
        return
    _print_paths(Console(), found)


def _print_paths(console: Console, found: Sequence[PathTimes]) -> None:
    console.print(_paths_table(found))
    disagreements = [each for each in found if each.faster]
    for each in disagreements:
        path, times = max(each.faster.items(), key=lambda pair: pair[1])
        console.print(
            Text(
                f"{_kind(each)}: {path} is {times:.2f} times as fast as {each.chosen}, which is "
                "chosen",
                style="yellow",
            )
        )
    if not disagreements:
        console.print("the chosen path is the fastest everywhere, as far as the rounds can tell")
    busy = busiest(each.busy for each in found)
    if busy.is_busy:
        console.print(Text(f"note: {busy.warning}", style="yellow"))


def _paths_table(found: Sequence[PathTimes]) -> Table:
    """Tabulate ms of fused attention without mass or score, and each path's time relative to it."""
    paths = list(dict.fromkeys(path for each in found for path in each.over_sdpa))
    table = plain_table("attention with mass", ["SDPA, ms", *paths])
    for each in found:
        cells = [f"{Timing(each.times_ms['SDPA']).median_ms:.1f}"]
        for path in paths:
            over = each.over_sdpa.get(path)
            mark = " *" if path == each.chosen else "  "
            cells.append("" if over is None else f"{over['median']:.2f}{mark}")
        table.add_row(_kind(each), *cells)
    table.caption = "time relative to SDPA without mass or score; * marks the chosen path"
    table.caption_justify = "left"
    return table


def _kind(each: PathTimes) -> str:
    return f"{each.dtype}, {each.num_tokens} tokens{', sharpness' * each.is_scored}"
