"""Measure chosen groups of rows, saving each row as soon as it is measured."""

from collections.abc import Callable, Mapping, Sequence

from vidtldr.bench.row import Row, RowFunction, Settings
from vidtldr.bench.row_file import RowFile

__all__ = ["choose_rows", "measure_rows"]


def choose_rows(
    groups: Mapping[str, RowFunction], names: Sequence[str] | None
) -> dict[str, RowFunction]:
    """Return the groups of these names in their own order.

    Args:
        groups: All of them.
        names: The groups to choose; None for all.

    Raises:
        ValueError: If a name is unknown; the message lists the groups.
    """
    unknown = [name for name in names or () if name not in groups]
    if unknown:
        raise ValueError(
            f"rows must be among {', '.join(groups)}, got {unknown[0]!r}. Write them as here, "
            "separated by commas."
        )
    return {name: group for name, group in groups.items() if names is None or name in names}


def measure_rows(
    groups: Mapping[str, RowFunction],
    settings: Settings,
    file: RowFile,
    on_row: Callable[[Row], object] = lambda _: None,
) -> None:
    """Measure groups one after the other.

    Args:
        groups: From `choose_rows`.
        settings: Rounds, and whether to use test sizes.
        file: Receives every row as soon as it is measured.
        on_row: Called with each row then.
    """
    for name, rows in groups.items():
        for row in rows(settings):
            file.add(name, row)
            on_row(row)
