"""Options of `bench latency` and `bench memory`; no torch here."""

from dataclasses import dataclass
from typing import Annotated, Literal

import typer

from vidtldr.cli.schedule import parse_counts

__all__ = ["DTYPES", "SpeedOptions", "positive_counts"]

DTYPES = ("float32", "bfloat16", "float16")


def positive_counts(name: str, typed: str) -> list[int]:
    """Different whole numbers from 1 on with commas between.

    Raises:
        ValueError: If one is no such number.
    """
    counts = parse_counts(name, typed)
    if min(counts) < 1:
        raise ValueError(f"{name} must be numbers from 1 on, got {typed!r}. Write {name} 1,8.")
    return list(dict.fromkeys(counts))


@dataclass(frozen=True)
class SpeedOptions:
    """Which model at which settings, as it was typed."""

    model: Annotated[
        str,
        typer.Option(
            help="umt-b16, umt-l16, videomae-b or vit-b with random weights; umt:CHECKPOINT, or a "
            "directory or hub id of a video classifier of transformers."
        ),
    ] = "umt-b16"
    arch: Annotated[
        str | None,
        typer.Option(help="Sizes of a umt: checkpoint: b16 (the default), l16 or a JSON file."),
    ] = None
    batches: Annotated[str, typer.Option(help="Clips at once: 1,8,20.")] = "1"
    dtypes: Annotated[str, typer.Option(help="Types of weights and input: float32,bfloat16.")] = (
        "float32"
    )
    frames: Annotated[
        str | None, typer.Option(help="Frames of a clip: 4,12; by default the model's own.")
    ] = None
    sizes: Annotated[
        str | None,
        typer.Option(help="Sides of a frame, pixels: 224,336; by default the model's own."),
    ] = None
    peers: Annotated[
        str | None,
        typer.Option(
            help='What to compare, semicolons between: "merged;ToMe"; all by default.',
            show_default=False,
        ),
    ] = None
    compiled: Annotated[
        bool, typer.Option("--compile", help="Compare compiled models as well.")
    ] = False
    device: Annotated[Literal["auto", "cpu", "cuda", "mps"], typer.Option(help="Where to run.")] = (
        "auto"
    )
    threads: Annotated[
        int | None, typer.Option(min=1, help="Threads of the CPU; torch's choice by default.")
    ] = None
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False

    def validate(self) -> None:
        """Check what can be checked without torch.

        Raises:
            ValueError: If a list is none.
        """
        for name in ("batches", "frames", "sizes"):
            self.counts(name)
        self.parse_dtypes()

    def counts(self, name: str) -> list[int] | list[None]:
        """The numbers of an option; one None where none is typed.

        Raises:
            ValueError: If one is no number from 1 on.
        """
        typed: str | None = getattr(self, name)
        if typed is None:
            return [None]
        return positive_counts(f"--{name}", typed)

    def parse_dtypes(self) -> list[str]:
        """The names of the types.

        Raises:
            ValueError: If one is unknown.
        """
        names = list(dict.fromkeys(name.strip() for name in self.dtypes.split(",")))
        for name in names:
            if name not in DTYPES:
                raise ValueError(
                    f"--dtypes must be of {', '.join(DTYPES)} with commas between, got {name!r}. "
                    "Correct it."
                )
        return names

    def parse_peers(self) -> list[str] | None:
        """The names of the peers; None for all."""
        if self.peers is None:
            return None
        return [name.strip() for name in self.peers.split(";")]
