"""Turn what benchmarks print into parts of their page: tables, and where and when it was run."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table

from vidtldr.cli.flag_words import in_flags
from vidtldr.visualize.bench_page import PageTable

__all__ = ["PAGE_WIDTH", "as_sentence", "environment_facts", "page_table", "report_facts"]

PAGE_WIDTH = 200  # columns of a terminal on which every table has all it can have


def page_table(table: Table, title: str, names: str, notes: Sequence[str] = ()) -> PageTable:
    """A printed table as one of the page; bold rows are emphasised.

    Args:
        table: Of text alone.
        title: What the page calls it.
        names: Head of the first column, which names the rows.
        notes: What is to be said below.
    """
    columns = [names, *(str(column.header) for column in table.columns[1:])]
    cells = [[str(cell) for cell in column.cells] for column in table.columns]
    strong = [number for number, row in enumerate(table.rows) if row.style == "bold"]
    return PageTable(title, columns, list(zip(*cells, strict=True)), notes, strong)


def report_facts(report: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The model, where and when it was measured, and what could not be."""
    failed = [
        ("not measured", f"{each['what']}: {in_flags(each['error'])}")
        for each in report["not_measured"]
    ]
    return [("model", report["model"]), *environment_facts(report["environment"]), *failed]


def environment_facts(environment: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Device, threads, versions, date and commit, as `environment` gives them."""
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
    """A note of the terminal with a capital and a full stop."""
    return f"{note[:1].upper()}{note[1:].rstrip('.')}."
