"""Progress of an index on stderr: a bar on a terminal, elsewhere a line now and then."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from vidtldr.pipeline.request import Progress

__all__ = ["index_progress"]

_SECONDS_BETWEEN_LINES = 60.0


@contextmanager
def index_progress(first: str) -> Iterator[Callable[[Progress], None]]:
    """Show how far a run is.

    Args:
        first: What is being done until the first video is.

    Yields:
        A function to call with the state of the run, as often as one likes.
    """
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _Lines()
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
        clock = _Clock()

        def show(state: Progress) -> None:
            failed = f"{state.num_failed} failed" if state.num_failed else ""
            bars.update(
                task,
                description="videos",
                completed=state.num_done,
                total=state.num_files,
                rate=clock.rate(state.num_done),
                failed=failed,
            )

        yield show


class _Clock:
    def __init__(self) -> None:
        self._start: float | None = None

    def rate(self, num_done: int) -> str:
        now = time.monotonic()
        if self._start is None:
            self._start = now
        seconds = now - self._start
        if not num_done or seconds < 1:
            return ""
        rate = num_done / seconds
        return f"{rate:.1f}/s" if rate >= 1 else f"{1 / rate:.1f} s each"


class _Lines:
    def __init__(self) -> None:
        self._start: float | None = None
        self._last = 0.0

    def __call__(self, state: Progress) -> None:
        now = time.monotonic()
        if self._start is None:  # loading and compiling the model are over
            self._start = self._last = now
        if now - self._last < _SECONDS_BETWEEN_LINES or not state.num_done:
            return
        self._last = now
        left = (now - self._start) / state.num_done * (state.num_files - state.num_done)
        failed = f", {state.num_failed} failed" if state.num_failed else ""
        typer.echo(
            f"{state.num_done} of {state.num_files} videos, "
            f"{state.num_done / (now - self._start):.1f}/s, {left / 60:.0f} min left{failed}",
            err=True,
        )
