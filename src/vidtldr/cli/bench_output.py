"""What every benchmark does with its result: print it as JSON, write it, draw it, show it."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import typer

from vidtldr.bench.not_measured import NotMeasured
from vidtldr.bench.plot import NARROW_INCHES, WIDE_INCHES, Plot, require_matplotlib
from vidtldr.cli.flag_words import in_flags
from vidtldr.cli.result_options import ResultOptions
from vidtldr.cli.text import one_line, printable
from vidtldr.cli.write_output import whole_file, write_json
from vidtldr.visualize.bench_page import BenchPage, PageFigure, write_bench_page
from vidtldr.visualize.report_extra import validate_report_extra

__all__ = ["hand_over", "missing_extras", "print_not_measured"]

PLOTS, REPORT = "plots", "report"


def missing_extras(wanted: ResultOptions) -> frozenset[str]:
    """What is not installed and needed to write what is wanted; said before the work, not after.

    Args:
        wanted: As typed.

    Returns:
        Names of extras.
    """
    needed: list[tuple[str, Callable[[], None]]] = []
    if wanted.plot is not None or wanted.report is not None:
        needed.append((PLOTS, require_matplotlib))
    if wanted.report is not None:
        needed.append((REPORT, validate_report_extra))
    missing = set()
    for name, check in needed:
        try:
            check()
        except ImportError as error:
            typer.echo(f"note: {one_line(str(error))} The rest goes on without it.", err=True)
            missing.add(name)
    return frozenset(missing)


def hand_over(
    result: dict[str, Any],
    wanted: ResultOptions,
    missing: frozenset[str],
    plot: Plot,
    page: BenchPage,
    written: Sequence[tuple[str, Path]] = (),
) -> None:
    """Print the whole result on one line, write it, draw it and write its page: what is wanted.

    Args:
        result: Everything, ready for JSON.
        wanted: As typed.
        missing: Of `missing_extras`.
        plot: Its picture.
        page: Its page, without the picture and the files beside it.
        written: Name and place of what is there already and belongs to it.

    Raises:
        OSError: If a file cannot be written.
    """
    files = list(written)
    if wanted.as_json:
        print(json.dumps(result), flush=True)
    if wanted.output is not None:
        write_json(wanted.output, result)
        files.append(("JSON", wanted.output))
    if wanted.plot is not None and PLOTS not in missing:
        files += zip(("PNG", "SVG"), plot.write(wanted.plot), strict=True)
    if wanted.report is not None and REPORT not in missing:
        figures = [] if PLOTS in missing else [_figure(plot)]
        with whole_file(wanted.report) as partial:
            write_bench_page(partial, replace(page, figures=figures, files=files))
        files.append(("page", wanted.report))
    for _, file in files:
        typer.echo(f"wrote {printable(str(file))}", err=True)


def print_not_measured(failed: NotMeasured) -> None:
    """Say on stderr what could not be measured and why; nothing if there is none."""
    for what, error in failed.errors.items():
        typer.echo(f"not measured: {what}: {one_line(in_flags(error))}", err=True)


def _figure(plot: Plot) -> PageFigure:
    return PageFigure(plot.title, plot.text, plot.svg(WIDE_INCHES), plot.svg(NARROW_INCHES))
