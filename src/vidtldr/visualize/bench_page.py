"""A self-contained HTML page with benchmark results: it loads nothing from outside."""

import base64
import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from rich.table import Table

from vidtldr.visualize.filled_page import encode_page, fill_page

__all__ = ["BenchPage", "PageFigure", "PageTable", "render_bench_page", "write_bench_page"]

_STYLES = ("bench.css",)
_SCRIPTS = ("bench.js",)


@dataclass(frozen=True)
class PageTable:
    """Numbers in rows and columns.

    Attributes:
        title: What it holds; may be empty if the table before says it.
        columns: Column headers; the first is for the row names, and may be empty.
        rows: Row name and the values of the other columns.
        notes: What a reader must know, one sentence each.
        strong_rows: Indices of the rows to emphasise, from 0.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str] = ()
    strong_rows: Collection[int] = ()


@dataclass(frozen=True)
class PageFigure:
    """A plot.

    Attributes:
        title: What it shows.
        text: How to read it; also the alternative text for screen readers.
        svg: The plot for a desktop screen.
        narrow_svg: The same for a phone; None shrinks the other.
    """

    title: str
    text: str
    svg: bytes
    narrow_svg: bytes | None = None


@dataclass(frozen=True)
class BenchPage:
    """Everything that the page of a benchmark shows; texts may be untrusted.

    Attributes:
        title: The question asked.
        lead: What was done, for a reader without context.
        verdict: The answer in a sentence; may be empty.
        command: The command line.
        facts: Names and values of other facts: device, versions, date.
        tables: Numbers.
        figures: Plots, shown before the tables.
        files: Names and paths of accompanying files; linked relative to the page.
    """

    title: str
    lead: str
    verdict: str
    command: str
    facts: Sequence[tuple[str, str]]
    tables: Sequence[PageTable]
    figures: Sequence[PageFigure] = ()
    files: Sequence[tuple[str, Path]] = ()


def write_bench_page(path: Path, page: BenchPage) -> int:
    """Write the page.

    Args:
        path: The file to write.
        page: What it shows.

    Returns:
        Bytes written.

    Raises:
        ImportError: If jinja2 is missing.
        OSError: If the file cannot be written.
    """
    return path.write_bytes(encode_page(render_bench_page(page, path.parent)))


def render_bench_page(page: BenchPage, directory: Path) -> str:
    """Fill in the page.

    Args:
        page: What it shows.
        directory: Where it will be written.

    Returns:
        HTML.

    Raises:
        ImportError: If jinja2 is missing.
    """
    links = [(name, _relative_url(file, directory), file.name) for name, file in page.files]
    return fill_page("bench.html.j2", _STYLES, _SCRIPTS, page=page, links=links, data_url=_data_url)


def _relative_url(file: Path, directory: Path) -> str:
    """URL of a file relative to the page; colons and question marks in its name are escaped."""
    return quote(os.fsencode(os.path.relpath(file, directory)))


def _data_url(svg: bytes) -> str:
    return f"data:image/svg+xml;base64,{base64.b64encode(svg).decode('ascii')}"


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


def as_sentence(note: str) -> str:
    """Return a terminal note with a capital and a full stop."""
    return f"{note[:1].upper()}{note[1:].rstrip('.')}."
