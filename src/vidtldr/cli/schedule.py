"""`--r`, `--ratio` and `--preset` as they are typed."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from vidtldr.hosts.config import MergeConfig
from vidtldr.hosts.presets import preset as paper_preset
from vidtldr.shapes.bundled_model import BUNDLED_PRESET, bundled_merge

__all__ = ["parse_schedule"]


def parse_schedule(
    r: str | None,
    ratio: str | None,
    preset: str | None,
    choices: Mapping[str, Any],
) -> MergeConfig | None:
    """The merge that the options ask for; None if they ask for none.

    Args:
        r: Counts with commas between.
        ratio: Shares with commas between.
        preset: Name of a schedule of the paper, or of the bundled model's.
        choices: Other fields of `MergeConfig` that were typed.

    Raises:
        ValueError: If more than one is given, an entry is no number of its kind, or the name is
            unknown.
    """
    given = [
        name
        for name, value in (("--r", r), ("--ratio", ratio), ("--preset", preset))
        if value is not None
    ]
    if len(given) > 1:
        raise ValueError(
            f"{' and '.join(given)} must not be given together, got "
            f"{'both' if len(given) == 2 else 'all'}. Use one of them."
        )
    if preset is not None:
        named = bundled_merge() if preset == BUNDLED_PRESET else paper_preset(preset)
        return replace(named, **choices)
    if r is not None:
        return MergeConfig(r=[_count(entry) for entry in r.split(",")], **choices)
    if ratio is not None:
        return MergeConfig(ratio=[_share(entry) for entry in ratio.split(",")], **choices)
    return None


def _count(entry: str) -> int:
    try:
        return int(entry)
    except ValueError:
        remedy = "For shares use --ratio." if "." in entry else "Write --r 600,200,100."
        raise ValueError(
            f"--r must be whole numbers with commas between, got {entry!r}. {remedy}"
        ) from None


def _share(entry: str) -> float:
    try:
        return float(entry)
    except ValueError:
        raise ValueError(
            f"--ratio must be numbers with commas between, got {entry!r}. Write --ratio 0.25,0.1."
        ) from None
