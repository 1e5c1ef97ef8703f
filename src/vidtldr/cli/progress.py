"""Progress on stderr, so that stdout holds results alone."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

__all__ = ["progress"]


@contextmanager
def progress(what: str, num_steps: int) -> Iterator[Callable[[], None]]:
    """Show a bar while something runs; it vanishes at the end, and off a terminal it never shows.

    Args:
        what: What is being done, already fit to print.
        num_steps: Steps until it is done.

    Yields:
        A function to call after each step.
    """
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as bar:
        task = bar.add_task(_escaped(what), total=num_steps)
        yield lambda: bar.advance(task)


def _escaped(text: str) -> str:
    """Square brackets of a name are no markup."""
    return Text(text).markup
