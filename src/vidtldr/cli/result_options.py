"""Where a benchmark's result goes, as it was typed; no torch here."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from vidtldr.cli.write_output import validate_different, validate_output

__all__ = ["ReportOption", "ResultOptions"]

ReportOption = Annotated[
    Path | None,
    typer.Option(metavar="HTML", help="Write plots and tables as one page of its own."),
]


@dataclass(frozen=True)
class ResultOptions:
    """What to write, and how to print."""

    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Write the whole result as JSON."),
    ] = None
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Draw FILE.png and FILE.svg.")
    ] = None
    report: ReportOption = None
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the JSON, on one line, and nothing else.")
    ] = False

    def validate(self) -> None:
        """Refuse places that cannot be written to, before the work.

        Raises:
            ValueError: If one cannot, or two are one file.
        """
        typed = ((self.output, "--output"), (self.plot, "--plot"), (self.report, "--report"))
        for path, option in typed:
            if path is not None:
                validate_output(path, option)
        validate_different(self.places())

    def places(self) -> list[tuple[Path, str]]:
        """Every file that is to be written, and the option that says so."""
        drawn = () if self.plot is None else map(self.plot.with_suffix, (".png", ".svg"))
        places = [(self.output, "--output"), (self.report, "--report")]
        places += [(path, "--plot") for path in drawn]
        return [(path, option) for path, option in places if path is not None]
