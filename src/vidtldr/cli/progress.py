"""Progress on stderr, so that stdout holds results alone."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

__all__ = ["phases", "progress", "status"]


@contextmanager
def progress(what: str, num_steps: int) -> Iterator[Callable[[], None]]:
    """Show a bar while something runs; it vanishes at the end, and off a terminal it never shows.

    Args:
        what: What is being done, already fit to print.
        num_steps: Steps until it is done.

    Yields:
        A function to call after each step.
    """
    with _bars() as bars:
        task = bars.add_task(_escaped(what), total=num_steps)
        yield lambda: bars.advance(task)


@contextmanager
def phases() -> Iterator[Callable[[str, int, int], None]]:
    """Show a bar for each part of something long, as it begins; otherwise as `progress`.

    Yields:
        A function to call after each step with the name of the part, its steps done and all.
    """
    tasks: dict[str, TaskID] = {}
    with _bars() as bars:

        def on_step(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(_escaped(what), total=total)
            bars.update(tasks[what], completed=done, total=total)

        yield on_step


def status(what: str) -> AbstractContextManager[object]:
    """Show that something runs of which no steps are known; off a terminal it never shows."""
    console = Console(stderr=True)
    return console.status(Text(what)) if console.is_terminal else nullcontext()


class _Rate(ProgressColumn):
    """Steps a second, or seconds a step where they are long."""

    def render(self, task: Task) -> Text:
        rate = task.finished_speed or task.speed
        if not rate:
            return Text("")
        return Text(f"{rate:.1f}/s" if rate >= 1 else f"{1 / rate:.1f} s each")


def _bars() -> Progress:
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _Rate(),
        TimeRemainingColumn(),
    )
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


def _escaped(text: str) -> str:
    """Square brackets of a name are no markup."""
    return Text(text).markup
