"""How the outcome of `vidtldr show` is printed."""

import json
from typing import Any

from rich.console import Console
from rich.text import Text

from vidtldr.cli.show_run import Shown
from vidtldr.cli.text import printable
from vidtldr.visualize.report import verdict
from vidtldr.visualize.report_facts import Side

__all__ = ["print_json", "print_table"]


def print_json(video: str, shown: Shown | str) -> None:
    """Print one JSON object."""
    failed = isinstance(shown, str)
    row: dict[str, Any] = {"video": video, "error": shown if failed else None, "files": []}
    if isinstance(shown, Shown):
        row["files"] = [str(path) for path in shown.paths]
        caveat = [shown.report.caveat] if shown.report.caveat else []  # the table's is on stderr
        row["notes"] = [*caveat, *shown.report.notes, *shown.notes]
        row["sides"] = [_side_row(side) for side in shown.report.sides]
    print(json.dumps(row))


def print_table(video: str, shown: Shown | str) -> None:
    """Print the verdict and where the files are, or the error."""
    console = Console(highlight=False, soft_wrap=True)
    console.print(Text(printable(video), style="bold"))
    if isinstance(shown, str):
        console.print(Text(f"  error: {shown}", style="red"))
        return
    for note in (*shown.report.notes, *shown.notes):
        console.print(Text(f"  note: {note}", style="yellow"))
    console.print(Text(f"  {verdict(shown.report)}"))
    for path in shown.paths:
        console.print(Text(f"  wrote {printable(str(path))}", style="bold green"))


def _side_row(side: Side) -> dict[str, Any]:
    return {
        "name": side.name,
        "answers": [vars(answer) for answer in side.answers],
        "num_tokens": list(side.num_tokens),
        "gflops": side.flops / 1e9,  # 1 MAC = 2 FLOPs
        "median_ms": side.median_ms,
    }
