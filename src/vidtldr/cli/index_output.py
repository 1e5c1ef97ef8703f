"""How what is known of an index is printed."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from vidtldr.cli.text import one_line, printable

__all__ = ["print_fields", "size_text"]

_UNITS = ("bytes", "KB", "MB", "GB", "TB")


def print_fields(
    index: Path, about: Mapping[str, Any], failures: Sequence[tuple[str, str]]
) -> None:
    """Print what `index status` knows, a line each, and the failures under it."""
    segment = about["segment_seconds"]
    rows = {
        "videos": f"{about['num_videos']:,}",
        "rows": f"{about['num_rows']:,} of {about['num_channels']} channels"
        + (", with tokens" if about["keeps_tokens"] else ""),
        "failures": f"{about['num_failures']:,}"
        + ("" if failures or not about["num_failures"] else " (--failures lists them)"),
        "model": printable(str(about["model"])),
        "merged": printable(str(about["schedule"])),
        "segments": "whole videos" if segment is None else f"{segment:g} s",
        "size": size_text(about["bytes"]),
    }
    if about["ann_recall"] is not None:
        rows["search"] = f"approximate, {about['ann_recall']:.1%} of the exact ten nearest"
    if about["is_being_written"]:
        rows["writer"] = "at work just now"
    console = Console(highlight=False)
    console.print(Text(printable(str(index))))
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 2))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows.items():
        table.add_row(name, Text(value))
    console.print(table)
    for path, reason in failures:
        name = "" if repr(path) in reason else f"{printable(path)}: "
        console.print(Text(f"  {name}{one_line(reason)}", style="red"))


def size_text(num_bytes: float) -> str:
    """A size with its unit, in thousands."""
    for unit in _UNITS[:-1]:
        if num_bytes < 1000:
            return f"{num_bytes:.0f} {unit}" if unit == "bytes" else f"{num_bytes:.1f} {unit}"
        num_bytes /= 1000
    return f"{num_bytes:.1f} {_UNITS[-1]}"
