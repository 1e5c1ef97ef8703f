"""Benchmark tables, for the terminal and for the HTML page."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.table import Table

from vidtldr.cli.errors import in_flags
from vidtldr.measure.gain import Change
from vidtldr.visualize.bench_page import PageTable

__all__ = [
    "PAGE_WIDTH",
    "SPEED_MARK_NOTE",
    "as_sentence",
    "environment_facts",
    "layer_span",
    "page_table",
    "plain_table",
    "report_facts",
    "speed_mark",
]


def plain_table(first: str, columns: Iterable[str], *, wraps_names: bool = False) -> Table:
    """Return a table without rows.

    Args:
        first: Heading of the column of names.
        columns: Headings of the others.
        wraps_names: Whether a long name wraps; else it is cut off.
    """
    table = Table(box=None, padding=(0, 1), pad_edge=False)
    table.add_column(first, no_wrap=not wraps_names)
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    return table


def layer_span(layers: Sequence[int] | None) -> str:
    """Format layers compactly: `0-2`, `0,2,4`; empty for None."""
    if layers is None:
        return ""
    is_run = tuple(layers) == tuple(range(layers[0], layers[-1] + 1)) and len(layers) > 1
    return f"{layers[0]}-{layers[-1]}" if is_run else ",".join(map(str, layers))


_MARK = "~"
SPEED_MARK_NOTE = f"{_MARK} no measurable difference: rounds lie on both sides of 1, or are one"


def speed_mark(change: Change) -> str:
    """Return the mark to print before a speed-up."""
    return _MARK if change == "unclear" else ""


PAGE_WIDTH = 200  # terminal columns at which every table shows all it can


def page_table(table: Table, title: str, names: str, notes: Sequence[str] = ()) -> PageTable:
    """Convert a printed table to one of the page; bold rows are emphasised.

    Args:
        table: A table that holds only text.
        title: Its title on the page.
        names: Heading of the first column, which names the rows.
        notes: Notes below the table.
    """
    columns = [names, *(str(column.header) for column in table.columns[1:])]
    cells = [[str(cell) for cell in column.cells] for column in table.columns]
    strong = [number for number, row in enumerate(table.rows) if row.style == "bold"]
    return PageTable(title, columns, list(zip(*cells, strict=True)), notes, strong)


def report_facts(report: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the model, where and when it was measured, and what could not be measured."""
    failed = [
        ("not measured", f"{each['what']}: {in_flags(each['error'])}")
        for each in report["not_measured"]
    ]
    return [("model", report["model"]), *environment_facts(report["environment"]), *failed]


def environment_facts(environment: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return device, threads, versions, date and commit from `environment`."""
    versions = environment["versions"]
    named = [f"{name} {version}" for name, version in versions.items() if version is not None]
    facts = [
        ("device", f"{environment['device']}, {_threads(environment['num_threads'])}"),
        ("platform", f"{environment['platform']}, Python {environment['python']}"),
        ("versions", ", ".join(named)),
        ("date", environment["date"]),
    ]
    if environment["commit"] is not None:
        facts.append(("commit", environment["commit"]))
    return facts


def _threads(count: int) -> str:
    return f"{count} thread{'' if count == 1 else 's'}"


def as_sentence(note: str) -> str:
    """Return a terminal note with a capital and a full stop."""
    return f"{note[:1].upper()}{note[1:].rstrip('.')}."
