"""Values of options as they are typed: numbers with units, lists of them, and choices."""

from collections.abc import Callable, Sequence
from typing import Literal

__all__ = [
    "choice_parser",
    "listed",
    "number_parser",
    "parse_counts",
    "parse_number",
    "parse_shares",
]


def parse_counts(name: str, typed: str) -> list[int]:
    """Parse comma-separated integers, in brackets or not.

    Raises:
        ValueError: If an entry is not an integer.
    """
    try:
        return [int(entry) for entry in _entries(typed)]
    except ValueError:
        examples = {"--r": "600,200,100", "--merge-layers": "0,1,2"}
        remedy = f"Write {name} {examples.get(name, '1,2')}."
        if name == "--r" and "." in typed:
            remedy = "For shares use --ratio."
        raise ValueError(
            f"{name} must be comma-separated integers, got {typed!r}. {remedy}"
        ) from None


def parse_shares(typed: str) -> list[float]:
    """Parse comma-separated numbers or percentages, in brackets or not.

    Raises:
        ValueError: If an entry is not a number.
    """
    try:
        return [parse_number(entry, "%") for entry in _entries(typed)]
    except ValueError:
        raise ValueError(
            f"--ratio must be comma-separated numbers, got {typed!r}. Write --ratio 0.25,0.1."
        ) from None


def parse_number(typed: str, unit: Literal["%", "x"] | None) -> float:
    """Parse a number that may have this unit, if any: 0.6 or 60%; 1.5 or 1.5x.

    Raises:
        ValueError: If it is not a number.
    """
    number = typed.strip().removesuffix(unit or "")
    return float(number) / (100 if unit == "%" and number != typed.strip() else 1)


def _entries(typed: str) -> list[str]:
    inner = typed.strip()
    if (inner[:1], inner[-1:]) in (("[", "]"), ("(", ")")):
        inner = inner[1:-1]
    return inner.split(",")


def number_parser(
    name: str, unit: Literal["%", "x"] | None, example: str
) -> Callable[[str], float]:
    """Make the parser of an option that holds a number; its errors show the example."""

    def parse(typed: str) -> float:
        try:
            return parse_number(typed, unit)
        except ValueError:
            raise ValueError(
                f"{name} must be a number, got {typed!r}. Write {name} {example}."
            ) from None

    return parse


def choice_parser(name: str, choices: Sequence[str]) -> Callable[[str], str]:
    """Make the parser of an option that holds one of these choices."""

    def parse(typed: str) -> str:
        if typed not in choices:
            raise ValueError(f"--{name} must be {listed(*choices)}, got {typed!r}. Choose one.")
        return typed

    return parse


def listed(*choices: str) -> str:
    """Name several choices as a sentence does: a, b or c."""
    return f"{', '.join(choices[:-1])} or {choices[-1]}"
