"""How much to merge, as it is typed: counts, shares, budgets, names and files."""

import json
from collections.abc import Sequence
from pathlib import Path

from vidtldr.hosts.config import MergeConfig

__all__ = ["parse_counts", "parse_shares", "read_schedule", "refuse_several"]


def refuse_several(given: Sequence[str]) -> None:
    """Check that how much to merge is said once.

    Raises:
        ValueError: If more than one option is given.
    """
    if len(given) > 1:
        raise ValueError(
            f"{' and '.join(given)} must not be given together, got "
            f"{'both' if len(given) == 2 else 'all'}. Use one of them."
        )


def parse_counts(name: str, typed: str) -> list[int]:
    """Whole numbers with commas between.

    Raises:
        ValueError: If an entry is none.
    """
    try:
        return [int(entry) for entry in typed.split(",")]
    except ValueError:
        examples = {"--r": "600,200,100", "--merge-layers": "0,1,2"}
        remedy = f"Write {name} {examples.get(name, '1,2')}."
        if name == "--r" and "." in typed:
            remedy = "For shares use --ratio."
        raise ValueError(
            f"{name} must be whole numbers with commas between, got {typed!r}. {remedy}"
        ) from None


def parse_shares(typed: str) -> list[float]:
    """Numbers with commas between.

    Raises:
        ValueError: If an entry is none.
    """
    try:
        return [float(entry) for entry in typed.split(",")]
    except ValueError:
        raise ValueError(
            f"--ratio must be numbers with commas between, got {typed!r}. Write --ratio 0.25,0.1."
        ) from None


def read_schedule(path: Path) -> MergeConfig:
    """Read the fields of a `MergeConfig` from a JSON file.

    Raises:
        ValueError: If there is no such file, or it does not hold a config; the message says why.
    """
    if not path.is_file():
        raise ValueError(
            f"--schedule must be a JSON file, got {str(path)!r}, which is no file. Check the name."
        )
    try:
        return MergeConfig.from_dict(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise ValueError(f"--schedule must have a schedule in {str(path)!r}: {error}") from error
