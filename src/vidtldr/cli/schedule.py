"""`--r`, `--ratio` and `--preset` as they are typed."""

from dataclasses import replace

from vidtldr.hosts.config import MergeConfig, Metric, Score
from vidtldr.hosts.presets import preset as named_preset

__all__ = ["parse_schedule"]


def parse_schedule(
    r: str | None,
    ratio: str | None,
    preset: str | None = None,
    *,
    score: Score | None,
    metric: Metric,
) -> MergeConfig | None:
    """The merge that the options ask for; None if they ask for none.

    Args:
        r: Counts with commas between.
        ratio: Shares with commas between.
        preset: Name of a schedule of the paper.
        score: As in `MergeConfig`.
        metric: As in `MergeConfig`.

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
        return replace(named_preset(preset), score=score, metric=metric)
    if r is not None:
        return MergeConfig(r=[_count(entry) for entry in r.split(",")], score=score, metric=metric)
    if ratio is not None:
        return MergeConfig(
            ratio=[_share(entry) for entry in ratio.split(",")], score=score, metric=metric
        )
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
