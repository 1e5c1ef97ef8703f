"""Options of `vidtldr tune` alone; no torch here."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, get_args

import typer

from vidtldr.cli.result_options import ReportOption, ResultOptions
from vidtldr.cli.umt_options import UMTOptions
from vidtldr.cli.write_output import (
    validate_different,
    validate_keeps_inputs,
    validate_output,
)
from vidtldr.tune.target import Target

__all__ = ["Compared", "TuneFiles", "parse_compared", "parse_target"]

ComparedName = Literal["feature-cosine", "labels", "retrieval"]


class Compared(NamedTuple):
    """By what drift is measured, and the file that it takes, as typed."""

    name: ComparedName
    file: str | None


@dataclass(frozen=True)
class TuneFiles:
    """What to write, as it was typed."""

    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", metavar="JSON", help="The schedule; every command takes it."
        ),
    ] = Path("schedule.json")
    plot: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Draw FILE.png and FILE.svg; beside the schedule by default.",
            show_default=False,
        ),
    ] = None
    report: ReportOption = None

    @property
    def is_drawing_asked(self) -> bool:
        """Whether more than the default plot is wanted."""
        return self.plot is not None or self.report is not None

    @property
    def trials(self) -> Path:
        """What was tried, for the next run to go on from."""
        return self.output.parent / f"{self.output.stem}.trials.jsonl"

    def validate(self, inputs: Sequence[str]) -> None:
        """Refuse places that cannot be written to.

        Args:
            inputs: Files that are read.

        Raises:
            ValueError: If one is such a place, or two are one file, or one is an input.
        """
        validate_output(self.output)
        validate_output(self.trials, "what is tried")
        results = self.results(as_json=False)
        results.validate()
        kept = [(self.output, "--output"), (self.trials, "what is tried")]
        places = [*kept, *results.places()]
        validate_different(places)
        validate_keeps_inputs(places, inputs)

    def results(self, *, as_json: bool) -> ResultOptions:
        """What is wanted beside the schedule, as benchmarks have it."""
        plot = self.output if self.plot is None else self.plot
        return ResultOptions(plot=plot, report=self.report, as_json=as_json)


def parse_target(typed: str) -> Target:
    """A figure and its value: `speedup=1.8`.

    Raises:
        ValueError: If it is no such thing; the message lists what there is.
    """
    name, _, value = typed.partition("=")
    target: Any = name.strip()
    try:
        number = float(value)
    except ValueError:
        raise ValueError(
            f"--target must be speedup=, drift= or flop-ratio= and a number, got {typed!r}. Write "
            "--target speedup=1.8."
        ) from None
    return Target(target, number)


def parse_compared(typed: str, umt: UMTOptions) -> Compared:
    """By what to measure drift: `feature-cosine`, `labels=FILE` or `retrieval=FILE`.

    Raises:
        ValueError: If it is none of them, or not for this model.
    """
    name, _, file = typed.partition("=")
    known: Any = name.strip()
    if known not in get_args(ComparedName) or (known == "feature-cosine" and file):
        raise ValueError(
            f"--metric must be one of feature-cosine, labels=FILE and retrieval=FILE, got "
            f"{typed!r}. Write --metric feature-cosine."
        )
    if known == "retrieval" and not umt.is_umt:
        raise ValueError(
            "--metric retrieval must come with --model umt:CHECKPOINT, as only UMT reads texts, "
            f"got --model {umt.model!r}. Use feature-cosine or labels."
        )
    if known == "retrieval" and not Path(file).is_file():
        raise ValueError(
            f"--metric retrieval must have a JSON file of captions, got {file!r}. Write --metric "
            "retrieval=captions.json."
        )
    if known == "labels" and not file and umt.is_umt and not umt.is_bundled:
        raise ValueError(
            "--metric labels must have labels for --model umt:CHECKPOINT, got none. Write "
            "--metric labels='yoga,reading book' or labels=FILE."
        )
    return Compared(known, file or None)
