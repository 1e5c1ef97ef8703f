"""How results of `vidtldr search` are printed."""

import json
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from vidtldr.cli.failed_videos import print_failed_videos
from vidtldr.cli.text import one_line, printable
from vidtldr.tasks.search import SearchResult

__all__ = ["print_json", "print_table"]


def print_json(results: Sequence[SearchResult], top: int | None) -> None:
    """Print an object a video, best first, those that failed at the end."""
    for result in _best(results, top):
        row = {
            "video": result.path,
            "rank": result.rank,
            "score": result.score,
            "match_score": result.match_score,
            "duration_seconds": result.seconds,
            "notes": list(result.notes),
            "error": None if result.error is None else one_line(result.error),
        }
        print(json.dumps(row))


def print_table(results: Sequence[SearchResult], top: int | None) -> None:
    """Print a table, best first, and what failed."""
    console = Console(highlight=False)
    table = Table(box=None, padding=(0, 2, 0, 0))
    for name in ("rank", "match", "cosine"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("video", overflow="fold")
    for result in _best(results, top):
        if result.error is None:
            scores = (_number(result.match_score, 2), _number(result.score, 3))
            table.add_row(str(result.rank), *scores, _name(result))
    if table.row_count:
        console.print(table)
    failed = [(result.path, result.error) for result in results if result.error is not None]
    print_failed_videos(console, failed, len(results))


def _best(results: Sequence[SearchResult], top: int | None) -> list[SearchResult]:
    """The best, and all that failed: those are never hidden."""
    return [
        result for result in results if result.rank is None or top is None or result.rank <= top
    ]


def _number(value: float | None, num_digits: int) -> str:
    return "-" if value is None else f"{value:.{num_digits}f}"


def _name(result: SearchResult) -> Text:
    name = Text(printable(result.path))
    for note in result.notes:
        name.append(f"\nnote: {one_line(note)}", style="yellow")
    return name
