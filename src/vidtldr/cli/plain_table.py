"""How benchmarks print tables: no lines, figures to the right."""

from collections.abc import Iterable, Sequence

from rich.table import Table

__all__ = ["layer_span", "plain_table"]


def plain_table(first: str, columns: Iterable[str], *, wraps_names: bool = False) -> Table:
    """A table without rows.

    Args:
        first: Heading of the column of names.
        columns: Headings of the others.
        wraps_names: Whether a long name goes on in the next line; else it is cut off.
    """
    table = Table(box=None, padding=(0, 1), pad_edge=False)
    table.add_column(first, no_wrap=not wraps_names)
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    return table


def layer_span(layers: Sequence[int] | None) -> str:
    """Layers in a few characters: `0-2`, `0,2,4`; nothing where they mean nothing."""
    if layers is None:
        return ""
    is_run = tuple(layers) == tuple(range(layers[0], layers[-1] + 1)) and len(layers) > 1
    return f"{layers[0]}-{layers[-1]}" if is_run else ",".join(map(str, layers))
