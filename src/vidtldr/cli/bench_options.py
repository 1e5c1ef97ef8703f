"""Options that `vidtldr bench quality` and `bench saliency` share; no torch here."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import typer

from vidtldr.cli.schedule import parse_counts
from vidtldr.cli.write_output import validate_output

__all__ = ["ShapesOptions", "parse_budgets"]


@dataclass(frozen=True)
class ShapesOptions:
    """Which clips of the world of shapes, where to run and what to write, as it was typed."""

    num_clips: Annotated[int, typer.Option(min=1, help="Clips of each seed.")] = 1000
    seeds: Annotated[str, typer.Option(help="Seeds of the world, with commas between.")] = "0,1,2"
    split: Annotated[
        Literal["test", "validation", "unseen"],
        typer.Option(help="Part of the world; choices are made on validation alone."),
    ] = "test"
    device: Annotated[Literal["auto", "cpu", "cuda", "mps"], typer.Option(help="Where to run.")] = (
        "auto"
    )
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Write the whole result as JSON."),
    ] = None
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the JSON, on one line, and nothing else.")
    ] = False
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False

    def parse_seeds(self) -> tuple[int, ...]:
        """The seeds; the output is checked on the way.

        Raises:
            ValueError: If one is no number from 0 on or comes twice, or the output cannot be
                written.
        """
        seeds = tuple(parse_counts("--seeds", self.seeds))
        if min(seeds) < 0 or len(set(seeds)) < len(seeds):
            raise ValueError(
                f"--seeds must be different numbers from 0 on, got {self.seeds!r}. Write 0,1,2."
            )
        if self.output is not None:
            validate_output(self.output)
        return seeds


def parse_budgets(typed: str) -> tuple[float, ...]:
    """FLOP ratios with commas between.

    Raises:
        ValueError: If one is no number in (0, 1).
    """
    try:
        budgets = tuple(float(entry) for entry in typed.split(","))
    except ValueError:
        budgets = ()
    if not budgets or not all(0 < budget < 1 for budget in budgets):
        raise ValueError(
            f"--budgets must be numbers between 0 and 1 with commas between, got {typed!r}. Write "
            "0.8,0.6; the unmerged model, 1, is always there."
        )
    return budgets
