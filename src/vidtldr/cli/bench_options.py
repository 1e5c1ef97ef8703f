"""Options that `vidtldr bench quality` and `bench saliency` share; no torch here."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import typer

from vidtldr.cli.schedule import parse_counts
from vidtldr.hosts.config import MergeConfig

__all__ = ["ShapesOptions", "parse_budgets", "read_chosen"]


@dataclass(frozen=True)
class ShapesOptions:
    """Which clips of the world of shapes, and where to run, as it was typed."""

    clips: Annotated[int, typer.Option(min=1, help="Clips of each seed.")] = 300
    seeds: Annotated[str, typer.Option(help="Seeds of the world, with commas between.")] = "0,1,2"
    split: Annotated[
        Literal["test", "validation", "unseen"],
        typer.Option(help="Part of the world; choices are made on validation alone."),
    ] = "test"
    device: Annotated[Literal["auto", "cpu", "cuda", "mps"], typer.Option(help="Where to run.")] = (
        "auto"
    )
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False

    def parse_seeds(self) -> tuple[int, ...]:
        """The seeds.

        Raises:
            ValueError: If one is no number from 0 on or comes twice.
        """
        seeds = tuple(parse_counts("--seeds", self.seeds))
        if min(seeds) < 0 or len(set(seeds)) < len(seeds):
            raise ValueError(
                f"--seeds must be different numbers from 0 on, got {self.seeds!r}. Write 0,1,2."
            )
        return seeds


def parse_budgets(typed: str) -> tuple[float, ...]:
    """FLOP ratios with commas between; 1 is left out, as the unmerged model is always measured.

    Raises:
        ValueError: If one is no number in (0, 1].
    """
    try:
        budgets = tuple(float(entry) for entry in typed.split(","))
    except ValueError:
        budgets = ()
    if not budgets or not all(0 < budget <= 1 for budget in budgets):
        raise ValueError(
            f"--budgets must be numbers in (0, 1] with commas between, got {typed!r}. Write "
            "1,0.8,0.6."
        )
    return tuple(budget for budget in dict.fromkeys(budgets) if budget < 1)


def read_chosen(path: Path) -> dict[float, MergeConfig]:
    """What was chosen for each budget, from the report of `recipes/choose_preset.py`.

    Raises:
        ValueError: If there is no such file, or it holds something else; the message says why.
    """
    try:
        chosen = json.loads(path.read_text(encoding="utf-8"))["chosen"]
        return {float(budget): MergeConfig.from_dict(each) for budget, each in chosen.items()}
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(
            f"--preset must be a report of recipes/choose_preset.py, got {str(path)!r}: {error!r}. "
            "Leave it out for the bundled preset."
        ) from error
