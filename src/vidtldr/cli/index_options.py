"""Options that the commands of an index share; no torch here."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

__all__ = ["DebugOption", "IndexArgument", "JsonOption", "PipelineOptions", "parse_seconds"]

IndexArgument = Annotated[
    Path, typer.Argument(metavar="INDEX", help="Directory of the index.", show_default=False)
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")]
DebugOption = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]

_UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0}


def parse_seconds(name: str, typed: str) -> float:
    """A length of time: 10, 10s, 1.5m.

    Raises:
        ValueError: If it is none, or not above 0.
    """
    match = re.fullmatch(r"(\d+(?:\.\d*)?|\.\d+)\s*([smh]?)", typed.strip())
    seconds = float(match[1]) * _UNITS[match[2]] if match else 0.0
    if not seconds > 0:
        raise ValueError(f"{name} must be a length above 0, got {typed!r}. Write 10s or 1.5m.")
    return seconds


@dataclass(frozen=True)
class PipelineOptions:
    """How `index add` works, as it was typed."""

    segment: Annotated[
        str | None,
        typer.Option(
            metavar="LENGTH", help="Cut videos into segments, a row each: 10s. Default: whole."
        ),
    ] = None
    keep_tokens: Annotated[
        bool, typer.Option("--keep-tokens", help="Keep visual tokens, for search --rerank.")
    ] = False
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Read those again that failed before.")
    ] = False
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="Processes that decode; default: one a core, less one for a GPU."),
    ] = None
    batch: Annotated[
        int | None,
        typer.Option(min=1, help="Clips encoded at once; default: 32 on a GPU, 8 on a CPU."),
    ] = None
    compiled: Annotated[
        bool,
        typer.Option(
            "--compile",
            help="Each encoder first compiles the model for a full batch, which takes time and "
            "pays for many videos; smaller batches, such as the last, run uncompiled.",
        ),
    ] = False
    worker_memory: Annotated[
        float,
        typer.Option(min=0.1, metavar="GIB", help="Memory that reading one video may take."),
    ] = 4.0
