"""What is printed: text made safe, flags in messages, progress, gains, failed videos, tables."""

import re
import time
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from threading import Event, Thread
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console
from rich.padding import Padding
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
from rich.table import Table
from rich.text import Text

from vidtldr.steps import steps_of

if TYPE_CHECKING:
    from vidtldr.measure.busyness import BusyReport
    from vidtldr.measure.gain import Change, Gain
    from vidtldr.patch.compiled_twin import CompiledTwin

__all__ = [
    "SECONDS_BETWEEN_LINES",
    "SPEED_MARK_NOTE",
    "compiled_row",
    "counted",
    "duration",
    "in_flags",
    "layer_span",
    "lines_every_ten_seconds",
    "one_line",
    "phases",
    "plain_table",
    "print_busy",
    "print_failed_videos",
    "print_gain",
    "print_video_notes",
    "printable",
    "progress",
    "rate",
    "say_compiled",
    "speed_mark",
    "status",
    "token_runs",
]

SECONDS_BETWEEN_LINES = 10.0


def printable(text: str) -> str:
    """Escape control characters and the like, which a terminal would obey instead of showing."""
    return "".join(_escape(character) if _is_obeyed(character) else character for character in text)


def one_line(text: str) -> str:
    """Return the text on one line: white space collapsed, the rest printable."""
    return printable(" ".join(text.split()))


def counted(number: int, what: str) -> str:
    """Return a number with its word: `1 video`, `1,200 videos`."""
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"


def _is_obeyed(character: str) -> bool:
    # Cc control, Cf format (direction marks), Cs lone surrogates of undecodable names, Zl and Zp
    # line ends.
    return unicodedata.category(character) in {"Cc", "Cf", "Cs", "Zl", "Zp"}


def _escape(character: str) -> str:
    return character.encode("unicode_escape", "backslashreplace").decode("ascii")


# Arguments of the library whose flag has another name, or that are no flag.
_FLAGS = {
    "config": "--arch",
    "num_frames": "--frames",
    "layers": "--merge-layers",
    "convert_checkpoint": "vidtldr convert",
}
_WITHOUT_A_VALUE = {"config": "--arch FILE.json"}
_TASKS = {
    "answering": "--task answering to vidtldr convert; otherwise use it with ask or evaluate "
    "answering",
    "retrieval": "--task retrieval to vidtldr convert; otherwise use it with search, classify, "
    "embed or evaluate retrieval",
}
_CODE = re.compile(r"`(\w+(?:\[\d+\])?)(?:=([^`]*))?`")


def in_flags(message: str) -> str:
    """Rewrite the arguments that a library message marks, as `` `r=[6, 2]` ``, as flags."""
    return _CODE.sub(_as_flag, message)


def _as_flag(marked: re.Match[str]) -> str:
    name, value = marked[1], (marked[2] or "").strip("'[]").replace(", ", ",")
    if name == "task":
        return _TASKS.get(value, f"--task {value}")
    if not value and name in _WITHOUT_A_VALUE:
        return _WITHOUT_A_VALUE[name]
    return " ".join(filter(None, (_FLAGS.get(name, f"--{name.replace('_', '-')}"), value)))


@contextmanager
def progress(what: str, num_steps: int) -> Iterator[Callable[[], None]]:
    """Show a progress bar that vanishes at the end; if stderr is no terminal, a line every 10 s.

    Args:
        what: Description of the work, already printable.
        num_steps: Number of steps.

    Yields:
        A function to call after each step.
    """
    with phases() as on_step:
        on_step(what, 0, num_steps)
        yield steps_of(on_step, what, num_steps)


@contextmanager
def phases() -> Iterator[Callable[[str, int, int], None]]:
    """Show a bar for each phase of a long job once it begins; otherwise as `progress`.

    A phase that ends early, such as a search that has found enough, is complete when the next
    begins.

    Yields:
        A function to call after each step with the phase's name, its steps done and its total.
    """
    console = Console(stderr=True)
    if not console.is_terminal:
        steps = _Steps()
        with lines_every_ten_seconds(steps.line):
            yield steps
        return
    tasks: dict[str, TaskID] = {}
    with _bars(console) as bars:

        def on_step(what: str, done: int, total: int) -> None:
            if what not in tasks:
                for task in bars.tasks:
                    bars.update(task.id, total=task.completed)
                tasks[what] = bars.add_task(_escaped(what), total=total)
            bars.update(tasks[what], completed=done, total=total)

        yield on_step


class _Steps:
    """The latest step of a long job, as a line."""

    def __init__(self) -> None:
        self._what, self._done, self._total, self._start = "", 0, 0, time.monotonic()

    def __call__(self, what: str, done: int, total: int) -> None:
        if what != self._what:
            self._start = time.monotonic()
        self._what, self._done, self._total = what, done, total

    def line(self) -> str:
        if not self._what:
            return "working"
        if self._total <= 1:
            return f"{self._what}: {duration(time.monotonic() - self._start)} so far"
        left = ""
        if 0 < self._done < self._total:
            seconds = time.monotonic() - self._start
            left = f", {duration(seconds / self._done * (self._total - self._done))} left"
        return f"{self._what}: {self._done} of {self._total}{left}"


@contextmanager
def lines_every_ten_seconds(line: Callable[[], str]) -> Iterator[None]:
    """Print what `line` returns on stderr every 10 seconds, so that a log shows signs of life."""
    ended = Event()

    def print_lines() -> None:
        while not ended.wait(SECONDS_BETWEEN_LINES):
            typer.echo(line(), err=True)

    thread = Thread(target=print_lines, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def duration(seconds: float) -> str:
    """Format how long something takes, roughly: `40 s`, `5 min`, `3 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = seconds / 60
    return f"{minutes:.0f} min" if minutes < 90 else f"{minutes / 60:.0f} h"


def rate(steps_per_second: float) -> str:
    """Format a rate; empty above 1000 a second, where nothing was computed but only read."""
    if steps_per_second >= 1000:
        return ""
    if steps_per_second >= 10:
        return f"{steps_per_second:.0f}/s"
    return (
        f"{steps_per_second:.1f}/s"
        if steps_per_second >= 1
        else f"{1 / steps_per_second:.1f} s each"
    )


def status(what: str) -> AbstractContextManager[object]:
    """Show a spinner for work without known steps; if stderr is no terminal, a line every 10 s."""
    console = Console(stderr=True)
    if console.is_terminal:
        return console.status(Text(what))
    start = time.monotonic()
    return lines_every_ten_seconds(lambda: f"{what}: {duration(time.monotonic() - start)} so far")


class _Rate(ProgressColumn):
    """Steps per second, or seconds per step if steps are slow."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(rate(speed) if speed else "")


def _bars(console: Console) -> Progress:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _Rate(),
        TimeRemainingColumn(),
    )
    return Progress(*columns, console=console, transient=True)


def _escaped(text: str) -> str:
    """Escape square brackets, which rich would read as markup."""
    return Text(text).markup


def print_failed_videos(
    console: Console,
    failed: Sequence[tuple[str, str]],
    num_videos: int,
    consequence: str = "",
) -> None:
    """List videos with their errors; nothing if there are none.

    Args:
        console: Where to print.
        failed: Path and error of each.
        num_videos: Number of all videos.
        consequence: What the failure means for them.
    """
    if not failed:
        return
    console.print(
        Text(f"{len(failed)} of {counted(num_videos, 'video')} failed{consequence}:", style="red")
    )
    for path, error in failed:
        # Most errors name the file themselves.
        name = "" if repr(path) in error else f"{printable(path)}: "
        console.print(Text(f"  {name}{one_line(in_flags(error))}", style="red"))


def print_video_notes(notes: Iterable[tuple[str, Sequence[str]]]) -> None:
    """Print on stderr what was unusual about videos, a line for each that has notes.

    Args:
        notes: Path and notes of each video.
    """
    for path, found in notes:
        if found:
            typer.echo(f"note: {printable(path)}: {one_line('; '.join(found))}", err=True)


def print_gain(console: Console, gain: "Gain", rest: str = "", indent: int = 0) -> None:
    """Print the speed-up and `rest`, then why there is none or why it cannot be trusted.

    Args:
        console: Where to print.
        gain: Gain of the merged model.
        rest: The end of the line, such as how answers agree; may be empty.
        indent: Columns to indent every line by.
    """
    style = "bold green" if gain.is_sure else "bold"
    _print(console, f"{gain.words}{rest and f'; {rest}'}", style, indent)
    if gain.why_none:
        _print(console, f"why: {gain.why_none}", "yellow", indent)
    print_busy(console, gain.busy, indent)


def print_busy(console: Console, busy: "BusyReport", indent: int = 0) -> None:
    """Print that times cannot be trusted if other programs were running."""
    if busy.is_busy:
        _print(console, f"note: {busy.warning}", "yellow", indent)


def _print(console: Console, text: str, style: str, indent: int) -> None:
    console.print(Padding(Text(text, style=style), (0, 0, 0, indent), expand=False))


def say_compiled(compiled: "CompiledTwin[Any] | None") -> None:
    """Print the time and the gain of compiling on stderr; nothing if nothing was compiled."""
    if compiled is not None:
        typer.echo(compiled.summary, err=True)


def compiled_row(compiled: "CompiledTwin[Any] | None") -> dict[str, Any]:
    """Return whether clips run compiled, and both times, for JSON; empty if not requested."""
    return {} if compiled is None or compiled.times is None else {"compile": compiled.to_dict()}


def plain_table(first: str, columns: Iterable[str], *, wraps_names: bool = False) -> Table:
    """Return a table without rows.

    Args:
        first: Heading of the column of names.
        columns: Headings of the others.
        wraps_names: Whether a long name wraps; else it is cut off.
    """
    table = Table(box=None, padding=(0, 1), pad_edge=False)
    table.add_column(first, no_wrap=not wraps_names)
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    return table


def layer_span(layers: Sequence[int] | None) -> str:
    """Format layers compactly: `0-2`, `0,2,4`, `0,2..10`; empty for None."""
    if layers is None:
        return ""
    first, last = layers[0], layers[-1]
    step = layers[1] - first if len(layers) > 1 else 1
    is_even = tuple(layers) == tuple(range(first, last + 1, step))
    if is_even and step == 1 and len(layers) > 1:
        return f"{first}-{last}"
    return f"{first},{layers[1]}..{last}" if is_even and len(layers) > 3 else _listed(layers)


def _listed(numbers: Sequence[int]) -> str:
    return ",".join(map(str, numbers))


_MARK = "~"
SPEED_MARK_NOTE = f"{_MARK} no measurable difference: rounds lie on both sides of 1, or are one"


def speed_mark(change: "Change") -> str:
    """Return the mark to print before a speed-up."""
    return _MARK if change == "unclear" else ""


def token_runs(num_tokens: Sequence[int]) -> str:
    """Format the tokens of every layer, joining equal neighbours: `968 768 668 x10`."""
    runs: list[list[int]] = []
    for tokens in num_tokens:
        if runs and runs[-1][0] == tokens:
            runs[-1][1] += 1
        else:
            runs.append([tokens, 1])
    return " ".join(f"{tokens} x{times}" if times > 1 else str(tokens) for tokens, times in runs)
