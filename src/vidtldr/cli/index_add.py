"""`vidtldr index add`: bring an index up to date with some videos."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from vidtldr.cli.errors import INTERRUPTED, SOME_INPUTS_FAILED, clear_errors
from vidtldr.cli.index_options import PipelineOptions, parse_seconds
from vidtldr.cli.merge_options import MergeOptions
from vidtldr.cli.run_options import RunOptions
from vidtldr.cli.spread_options import spread_options
from vidtldr.cli.umt_options import UMTOptions

__all__ = ["add"]


@spread_options
def add(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE",
            help="Folders, searched to any depth; files; patterns in quotes; lists, which end in "
            ".txt and have a path a line; - for a list on the standard input.",
            show_default=False,
        ),
    ],
    *,
    into: Annotated[
        Path,
        typer.Option(
            metavar="INDEX", help="Directory of the index; made if new.", show_default=False
        ),
    ],
    umt: UMTOptions,
    merging: MergeOptions,
    pipeline: PipelineOptions,
    engine: Annotated[
        Literal["local", "ray"], typer.Option(help="Where to work: this machine, or Ray's cluster.")
    ] = "local",
    run: RunOptions,
) -> None:
    """Index videos; the same command goes on where it was stopped, and updates what changed.

    Files that are unchanged are skipped, changed ones replaced. A file that cannot be read is
    noted with the reason and not read again until it changes. An index keeps to one model and
    schedule: those of its first run, which later runs take by themselves.

    Exit codes: 0 all are indexed, 1 some failed, 2 nothing could start, 130 interrupted.
    """
    kept = f"what is committed stays in {str(into)!r}. The same command goes on from there"
    with clear_errors(run.debug, kept):
        segment = None if pipeline.segment is None else parse_seconds("--segment", pipeline.segment)
        merging.parse()
        from vidtldr.cli.index_run import print_report, run_index

        report = run_index(sources, into, umt, merging, pipeline, segment, engine, run)
        print_report(report, into, as_json=run.as_json)
    if report.was_interrupted:
        raise typer.Exit(INTERRUPTED)
    if report.num_failed or report.num_failed_before:
        raise typer.Exit(SOME_INPUTS_FAILED)
