"""Options of how a subcommand runs and prints; no torch here."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

__all__ = [
    "CacheOption",
    "CompareOption",
    "CompileOption",
    "RunOptions",
    "VideosArgument",
    "what_is_kept",
]

VideosArgument = Annotated[
    list[str], typer.Argument(metavar="VIDEO", help="Video files.", show_default=False)
]
CompareOption = Annotated[
    bool, typer.Option("--compare", help="Run unmerged and merged, and show both.")
]
CompileOption = Annotated[
    bool,
    typer.Option(
        "--compile", help="Compile the model first, which takes time and pays for many videos."
    ),
]
CacheOption = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="Keep features of videos here and use those that are there."),
]


@dataclass(frozen=True)
class RunOptions:
    """How to run and print, as it was typed."""

    time_limit: Annotated[
        float,
        typer.Option(min=0.001, metavar="SECONDS", help="Give up reading a video after this."),
    ] = 120.0
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON, one object a line, and nothing else.")
    ] = False
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False


def what_is_kept(cache: Path | None) -> str:
    """What to tell somebody who interrupts something that a cache can go on with."""
    if cache is None:
        return "nothing is kept. With --cache DIR the same command could go on from here"
    return f"{str(cache)!r} keeps the videos done so far. The same command goes on from there"
