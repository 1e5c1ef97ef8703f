"""How results of `vidtldr evaluate` are printed and written."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from vidtldr.cli.evaluate_rows import (
    MAIN_FIGURE,
    Result,
    cost_rows,
    main_figure,
    result_rows,
    title,
)
from vidtldr.cli.failed_videos import print_failed_videos
from vidtldr.cli.text import one_line, printable
from vidtldr.cli.write_output import write_json
from vidtldr.evaluate.comparison import Compared

__all__ = ["show"]


def show(result: Result | Compared[Any], output: Path | None, *, as_json: bool) -> int:
    """Print a result, then write it, so that a full disk costs the file alone.

    Args:
        result: Of one evaluation, or of both sides.
        output: JSON file to write; None for none.
        as_json: Print the JSON, on one line, instead of a table.

    Returns:
        How many videos failed.
    """
    if as_json:
        print(json.dumps(result.to_dict()), flush=True)
    else:
        _print_tables(result)
    if output is not None:
        write_json(output, result.to_dict())
        typer.echo(f"wrote {printable(str(output))}", err=True)
    return len(_failed(_sides(result)))


def _sides(result: Result | Compared[Any]) -> dict[str, Result]:
    if isinstance(result, Compared):
        return {"unmerged": result.unmerged, "merged": result.merged}
    return {"unmerged" if result.run.schedule is None else "merged": result}


def _failed(sides: Mapping[str, Result]) -> dict[str, str]:
    """Videos that failed on any side, with their errors."""
    return {note.path: note.text for side in sides.values() for note in side.run.failed_videos}


def _print_tables(result: Result | Compared[Any]) -> None:
    console = Console(highlight=False)
    sides = _sides(result)
    last = list(sides.values())[-1]
    console.print(Text(one_line(title(last)), style="bold"))
    console.print(_table(sides))
    console.print(Text("GFLOPs of the vision encoder; 1 MAC = 2 FLOPs.", style="dim"))
    if isinstance(result, Compared):
        console.print(Text(_verdict(result), style="bold green"))
    _print_notes(console, last)
    failed = list(_failed(sides).items())
    print_failed_videos(console, failed, last.run.num_videos, ", which count as misses")


def _table(sides: Mapping[str, Result]) -> Table:
    table = Table(box=None, padding=(0, 2))
    table.add_column("", overflow="fold")
    for name in sides:
        table.add_column(name, justify="right", no_wrap=True)
    columns = [[*result_rows(side), *cost_rows(side.run)] for side in sides.values()]
    for cells in zip(*columns, strict=True):
        table.add_row(Text(cells[0][0]), *(Text(value) for _, value in cells))
    return table


def _verdict(result: Compared[Any]) -> str:
    change = main_figure(result.merged) - main_figure(result.unmerged)
    parts = [f"FLOPs {result.flops_ratio:.2f}x fewer"]
    if result.speedup is not None:
        parts.append(f"{result.speedup:.2f}x the clips a second")
    name = MAIN_FIGURE[type(result.merged)]
    return "; ".join([*parts, f"{name} {change:+.1f} points"])


def _print_notes(console: Console, result: Result) -> None:
    for note in result.run.video_notes:
        line = f"note: {printable(note.path)}: {one_line(note.text)}"
        console.print(Text(line, style="yellow"))
