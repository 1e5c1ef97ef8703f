"""What every benchmark does with its result: print it as JSON, write it, say what was drawn."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import typer

from vidtldr.bench.drawing import require_matplotlib
from vidtldr.cli.text import one_line, printable
from vidtldr.cli.write_output import write_json

__all__ = ["can_draw", "hand_over", "say_written"]


def can_draw(plot: Path | None) -> bool:
    """Whether what is to be drawn can be; says so before the work, not after it, if not."""
    if plot is None:
        return True
    try:
        require_matplotlib()
    except ImportError as error:
        typer.echo(f"note: {one_line(str(error))} The rest goes on without it.", err=True)
        return False
    return True


def hand_over(report: dict[str, Any], output: Path | None, *, as_json: bool) -> None:
    """Print the whole result on one line, and write it."""
    if as_json:
        print(json.dumps(report), flush=True)
    if output is not None:
        write_json(output, report)
        say_written([output])


def say_written(files: Sequence[Path]) -> None:
    """Say which files are there now."""
    for file in files:
        typer.echo(f"wrote {printable(str(file))}", err=True)
