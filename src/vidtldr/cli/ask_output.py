"""How the result of `vidtldr ask` is printed."""

import json

from rich.console import Console
from rich.table import Table
from rich.text import Text

from vidtldr.cli.failed_videos import print_failed_videos
from vidtldr.cli.text import one_line, printable
from vidtldr.tasks.ask import AnsweredVideo

__all__ = ["print_json", "print_table"]


def print_json(question: str, result: AnsweredVideo) -> None:
    """Print one object."""
    row = {
        "video": result.path,
        "question": question,
        "answers": [vars(answer) for answer in result.answers],
        "duration_seconds": result.seconds,
        "notes": list(result.notes),
        "error": None if result.error is None else one_line(result.error),
    }
    print(json.dumps(row))


def print_table(question: str, result: AnsweredVideo) -> None:
    """Print the answers, likeliest first, or what failed."""
    console = Console(highlight=False)
    if result.error is not None:
        print_failed_videos(console, [(result.path, result.error)], 1)
        return
    console.print(Text(one_line(question), style="bold"))
    for note in result.notes:
        console.print(Text(f"  note: {one_line(note)}", style="yellow"))
    table = Table(box=None, padding=(0, 2), show_header=False)
    table.add_column(overflow="fold")
    table.add_column(justify="right", no_wrap=True)
    for answer in result.answers:
        table.add_row(Text(printable(answer.answer)), f"{answer.probability:.1%}")
    console.print(table)
