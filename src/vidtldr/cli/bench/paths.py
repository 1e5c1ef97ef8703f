"""Implementation of `vidtldr bench paths`."""

import json
from collections.abc import Sequence
from pathlib import Path

import torch
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from vidtldr.bench.attention_paths import PathTimes, measure_paths
from vidtldr.cli.tables import plain_table
from vidtldr.cli.terminal import progress
from vidtldr.files import write_json
from vidtldr.measure.busyness import busiest
from vidtldr.measure.environment import environment
from vidtldr.measure.timing import Timing
from vidtldr.tasks.pretrained import resolve_device

__all__ = ["run_paths_job"]


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
    _print(Console(), found)


def _print(console: Console, found: Sequence[PathTimes]) -> None:
    console.print(_table(found))
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


def _table(found: Sequence[PathTimes]) -> Table:
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
