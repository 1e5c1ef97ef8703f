"""Output of `vidtldr index`: progress and results."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars
from rich.table import Table
from rich.text import Text

from vidtldr.cli.terminal import duration, lines_every_ten_seconds, one_line, printable, rate
from vidtldr.pipeline.request import Progress

__all__ = ["index_progress", "print_fields", "size_text"]

_UNITS = ("bytes", "KB", "MB", "GB", "TB")


def print_fields(
    index: Path, about: Mapping[str, Any], failures: Sequence[tuple[str, str]]
) -> None:
    """Print the fields of `index status`, one per line, and the failures below them."""
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
    """Format a size with a decimal unit."""
    for unit in _UNITS[:-1]:
        if num_bytes < 1000:
            return f"{num_bytes:.0f} {unit}" if unit == "bytes" else f"{num_bytes:.1f} {unit}"
        num_bytes /= 1000
    return f"{num_bytes:.1f} {_UNITS[-1]}"


@contextmanager
def index_progress(first: str) -> Iterator[Callable[[Progress], None]]:
    """Show the progress of a run.

    Args:
        first: Description of the work before the first video is done.

    Yields:
        A function to call with the state of the run, as often as needed.
    """
    console = Console(stderr=True)
    clock = _Clock(first)
    if not console.is_terminal:
        with lines_every_ten_seconds(clock.line):
            yield clock.update
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(compact=True),
        TextColumn("{task.fields[failed]}", style="red"),
    )
    with Bars(*columns, console=console, transient=True) as bars:
        task = bars.add_task(first, total=None, rate="", failed="")

        def show(state: Progress) -> None:
            clock.update(state)
            failed = f"{state.num_failed} failed" if state.num_failed else ""
            bars.update(
                task,
                description="videos",
                completed=state.num_done,
                total=state.num_files,
                rate=clock.rate(),
                failed=failed,
            )

        yield show


class _Clock:
    """The latest state of a run, and its speed since the model was loaded."""

    def __init__(self, first: str) -> None:
        self._first = first
        self._state: Progress | None = None
        self._start = 0.0

    def update(self, state: Progress) -> None:
        if self._state is None:  # the model is loaded and compiled
            self._start = time.monotonic()
        self._state = state

    def rate(self) -> str:
        speed = self._speed()
        return rate(speed) if speed else ""

    def line(self) -> str:
        state, speed = self._state, self._speed()
        if state is None:
            return self._first
        left = ""
        if speed:
            seconds = (state.num_files - state.num_done) / speed
            left = f", {rate(speed)}, {duration(seconds)} left"
        failed = f", {state.num_failed} failed" if state.num_failed else ""
        return f"{state.num_done} of {state.num_files} videos{left}{failed}"

    def _speed(self) -> float:
        seconds = time.monotonic() - self._start
        if self._state is None or seconds < 1:
            return 0.0
        return self._state.num_done / seconds
