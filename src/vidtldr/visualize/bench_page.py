"""One page that shows what was measured, in a file of its own: nothing is fetched from anywhere."""

import base64
import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from vidtldr.visualize.filled_page import encode_page, fill_page

__all__ = ["BenchPage", "PageFigure", "PageTable", "render_bench_page", "write_bench_page"]

_STYLES = ("bench.css",)
_SCRIPTS = ("bench.js",)


@dataclass(frozen=True)
class PageTable:
    """Numbers in rows and columns.

    Attributes:
        title: What it holds; may be empty where the table before says it.
        columns: Heads; the first is of the names of the rows, and may be empty.
        rows: A name and what stands in the other columns.
        notes: What a reader must know, a sentence each.
        strong_rows: Numbers of the rows to emphasise, from 0.
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
        text: How to read it; said in its place to whoever cannot see it.
        svg: The plot for a desk's screen.
        narrow_svg: The same for a phone's; None to shrink the other.
    """

    title: str
    text: str
    svg: bytes
    narrow_svg: bytes | None = None


@dataclass(frozen=True)
class BenchPage:
    """Everything that the page of a benchmark shows; any text, also from outside.

    Attributes:
        title: What was asked.
        lead: What was done, for a reader who comes from nowhere.
        verdict: The answer in a sentence; may be empty.
        command: What was typed.
        facts: Name and value of what else is to be said: device, versions, date.
        tables: Numbers.
        figures: Plots, shown before the tables.
        files: What lies beside it: name and place; linked relative to the page.
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
        directory: Where it will lie.

    Returns:
        HTML.

    Raises:
        ImportError: If jinja2 is missing.
    """
    links = [(name, _relative_url(file, directory), file.name) for name, file in page.files]
    return fill_page("bench.html.j2", _STYLES, _SCRIPTS, page=page, links=links, data_url=_data_url)


def _relative_url(file: Path, directory: Path) -> str:
    """Where a file lies, seen from the page; a colon or a question mark in it stays a letter."""
    return quote(os.fsencode(os.path.relpath(file, directory)))


def _data_url(svg: bytes) -> str:
    return f"data:image/svg+xml;base64,{base64.b64encode(svg).decode('ascii')}"
