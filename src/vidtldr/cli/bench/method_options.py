"""Options of the benchmarks that compare methods at FLOP budgets; does not import torch."""

from pathlib import Path
from typing import Annotated

import typer

from vidtldr.cli.output_options import Reads
from vidtldr.cli.typed_values import parse_counts, parse_shares

__all__ = [
    "BudgetsOption",
    "CacheOption",
    "FirstLayersOption",
    "MethodsOption",
    "kept_measurements",
    "parse_budgets",
    "parse_first_layers",
    "parse_methods",
]

BudgetsOption = Annotated[
    str, typer.Option(help="FLOP ratios of the vision encoder, with commas between.")
]
MethodsOption = Annotated[
    str | None,
    typer.Option(help='Methods: "vid-TLDR,ToMe (keys)"; default: all.', show_default=False),
]
FirstLayersOption = Annotated[
    str,
    typer.Option(help="First of the three merging layers, counted from 0: 0,3; one row for each."),
]
CacheOption = Annotated[
    Path | None,
    Reads(),
    typer.Option(
        metavar="DIR",
        help="Keep every measurement here, so that the same command resumes after an interruption.",
    ),
]


def parse_budgets(typed: str) -> tuple[float, ...]:
    """Parse comma-separated FLOP ratios; omits 1, as the unmerged model is always measured.

    Raises:
        ValueError: If one is not a number in (0, 1], or none is below 1.
    """
    try:
        budgets = tuple(parse_shares(typed))
    except ValueError:
        budgets = ()
    if not budgets or not all(0 < budget <= 1 for budget in budgets):
        raise ValueError(
            f"--budgets must be numbers in (0, 1], comma-separated, got {typed!r}. Write 1,0.8,0.6."
        )
    below = tuple(budget for budget in dict.fromkeys(budgets) if budget < 1)
    if not below:
        raise ValueError(
            f"--budgets must have one below 1, which is the unmerged model, got {typed!r}. Write "
            "1,0.8,0.6."
        )
    return below


def parse_first_layers(typed: str) -> list[int]:
    """Parse comma-separated layers.

    Raises:
        ValueError: If one is not an integer.
    """
    return parse_counts("--first-layers", typed)


def parse_methods(typed: str | None) -> list[str] | None:
    """Parse comma-separated names of methods; None means all."""
    return None if typed is None else [name.strip() for name in typed.split(",")]


def kept_measurements(cache: Path | None) -> str:
    """Return the message for an interrupted benchmark that could resume from a cache."""
    if cache is None:
        return "nothing was saved. With --cache DIR the same command could resume"
    return f"{str(cache)!r} keeps the finished measurements. Run the same command again to resume"
