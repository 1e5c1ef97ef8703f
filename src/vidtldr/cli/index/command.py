"""`vidtldr index`: build and maintain an index of videos; does not import torch."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from vidtldr.cli.errors import INTERRUPTED, SOME_INPUTS_FAILED, clear_errors
from vidtldr.cli.merge_options import MergeOptions
from vidtldr.cli.model_options import ModelOptions
from vidtldr.cli.output_options import (
    PARQUET_FILE,
    PARQUET_HELP,
    Output,
    Reads,
    Writes,
    validate_not_inside,
    validate_outputs,
)
from vidtldr.cli.run_options import (
    MAX_BATCH,
    MAX_THREADS,
    RunOptions,
    parse_seconds,
    refuse_swallowed,
    say_unreadable,
    spread_options,
    with_old_names,
)
from vidtldr.pipeline.discovery import discover
from vidtldr.store.lance import require_lancedb

__all__ = [
    "DebugOption",
    "IndexArgument",
    "JsonOption",
    "PipelineOptions",
    "add",
    "app",
    "export",
    "parse_seconds",
    "prune",
    "status",
    "verify",
]

app = typer.Typer(
    name="index",
    help="Index many videos for fast search with vidtldr search --index.",
    no_args_is_help=True,
)

IndexArgument = Annotated[
    Path,
    Reads(),
    typer.Argument(metavar="INDEX", help="Directory of the index.", show_default=False),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")]
DebugOption = Annotated[bool, typer.Option("--debug", help="Show tracebacks of errors.")]


@dataclass(frozen=True)
class PipelineOptions:
    """How `index add` runs, as typed."""

    segment: Annotated[
        str | None,
        typer.Option(
            metavar="LENGTH",
            help="Split videos into segments of this length, one row "
            "each: 10s. Default: whole videos.",
        ),
    ] = None
    keep_tokens: Annotated[
        bool, typer.Option("--keep-tokens", help="Keep visual tokens, for search --rerank.")
    ] = False
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Retry files that failed before.")
    ] = False
    workers: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=MAX_THREADS,
            help="Decoding processes; default: one per core, minus one if a GPU encodes.",
        ),
    ] = None
    batch: Annotated[
        int | None,
        typer.Option(
            min=1, max=MAX_BATCH, help="Clips per batch; default: 32 on a GPU, 8 on a CPU."
        ),
    ] = None
    compiled: Annotated[
        bool,
        typer.Option(
            "--compile",
            help="Each encoder first compiles the model for a full batch, which takes time and "
            "pays for many videos; smaller batches, such as the last, run uncompiled.",
        ),
    ] = False
    worker_memory: Annotated[
        float,
        typer.Option(min=0.1, max=2**20, metavar="GIB", help="Memory limit for reading one video."),
    ] = 4.0


@app.command("add", cls=with_old_names({"--into": "--index"}))
@spread_options
def add(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE",
            help="Folders, searched to any depth; files; patterns in quotes; lists, which end in "
            ".txt and have one path per line; - for a list on the standard input.",
            show_default=False,
        ),
    ],
    *,
    into: Annotated[
        Path,
        typer.Option(
            "--index",
            metavar="INDEX",
            help="Index directory; created if it does not exist.",
            show_default=False,
        ),
    ],
    spec: ModelOptions,
    merging: MergeOptions,
    pipeline: PipelineOptions,
    engine: Annotated[
        Literal["local", "ray"],
        typer.Option(help="Where to run: on this machine or on a Ray cluster."),
    ] = "local",
    run: RunOptions,
) -> None:
    """Index videos; the same command resumes where it stopped, and updates what changed.

    Unchanged files are skipped, changed ones replaced. A file that cannot be read is recorded with
    the reason and not read again until it changes. An index keeps one model and schedule: those of
    its first run, which later runs use by default.

    Example: vidtldr index add videos --index my.index --model umt:msrvtt.pth --flop-ratio 0.6

    Exit codes: 0 all are indexed, 1 some failed, 2 nothing could start, 130 interrupted.
    """
    kept = f"everything committed is kept in {str(into)!r}. Run the same command again to resume"
    with clear_errors(run.debug, kept):
        refuse_swallowed(sources)
        segment = None if pipeline.segment is None else parse_seconds("--segment", pipeline.segment)
        merging.parse(spec)
        validate_not_inside(into, "--index")
        found = discover(sources)
        say_unreadable(found)
        if not found.files:
            raise ValueError(
                f"source must have videos in it, got {', '.join(map(repr, sources))} with none. "
                "Name files whose suffix is not that of a video one by one."
            )
        require_lancedb()
        from vidtldr.cli.index.run import print_report, run_index

        report = run_index(found.files, into, spec, merging, pipeline, segment, engine, run)
        print_report(report, into, as_json=run.as_json)
    if report.was_interrupted:
        raise typer.Exit(INTERRUPTED)
    if report.num_failed or report.num_failed_before:
        raise typer.Exit(SOME_INPUTS_FAILED)


@app.command("status")
@spread_options
def status(
    index: IndexArgument,
    failures: Annotated[
        bool, typer.Option("--failures", help="List every file that failed, with the reason.")
    ] = False,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Show the contents of an index, its model and schedule, and its size.

    Example: vidtldr index status my.index --failures

    Exit codes: 0 shown, 2 the index does not exist.
    """
    with clear_errors(debug):
        from vidtldr.cli.index.run import print_fields
        from vidtldr.store.ann import read_ann_settings
        from vidtldr.store.video_index import VideoIndex
        from vidtldr.store.writer_lock import is_locked

        opened = VideoIndex(index)
        settings = opened.settings
        about: dict[str, Any] = {
            "num_videos": len(opened.known_files()),
            "num_rows": opened.num_rows,
            "num_failures": opened.num_failures,
            "model": settings.model,
            "schedule": settings.schedule,
            "segment_seconds": settings.segment_seconds,
            "num_channels": settings.num_channels,
            "keeps_tokens": settings.keep_tokens,
            "bytes": opened.num_bytes,
            "is_being_written": is_locked(opened.directory),
        }
        ann = read_ann_settings(opened)
        about["ann_recall"] = None if ann is None else ann.recall
        failed = [(row.path, row.reason) for row in opened.failures().values()] if failures else []
        if as_json:
            listed = [{"video": path, "error": reason} for path, reason in sorted(failed)]
            print(json.dumps(about | ({"failures": listed} if failures else {})))
        else:
            print_fields(index, about, sorted(failed))


@app.command("verify")
@spread_options
def verify(index: IndexArgument, as_json: JsonOption = False, debug: DebugOption = False) -> None:
    """Read every row of an index and check every file.

    Example: vidtldr index verify my.index

    Exit codes: 0 the index is sound, 1 it is damaged, 2 it cannot be opened. Changed and deleted
    files are reported; they do not count as damage.
    """
    with clear_errors(debug):
        from rich.console import Console
        from rich.text import Text

        from vidtldr.cli.terminal import counted, one_line, printable, status
        from vidtldr.store.verify import verify_index

        with status("reading the index"):
            check = verify_index(index)
        if as_json:
            print(json.dumps(asdict(check)))
        else:
            console = Console(highlight=False)
            name = printable(str(index))
            verdict = "damaged" if check.problems else "sound"
            rows = f"{counted(check.num_rows, 'row')} of {counted(check.num_videos, 'video')}"
            failures = counted(check.num_failures, "failure")
            console.print(Text(f"{name} is {verdict}: {rows}, {failures}"))
            for problem in check.problems:
                console.print(Text(f"  {one_line(problem)}", style="red"))
            if check.num_unchecked:
                rows = "rows have" if check.num_unchecked > 1 else "row has"
                console.print(
                    Text(f"{check.num_unchecked} {rows} no checksum: written by an older vidtldr")
                )
            if check.num_changed:
                console.print(Text(f"{counted(check.num_changed, 'changed file')}: index again"))
            if check.num_gone:
                console.print(
                    Text(f"{counted(check.num_gone, 'missing file')}: vidtldr index prune {name}")
                )
    if check.problems:
        raise typer.Exit(SOME_INPUTS_FAILED)


@app.command("prune")
@spread_options
def prune(
    index: IndexArgument,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only list files that no longer exist.")
    ] = False,
    everything: Annotated[
        bool, typer.Option("--all", help="Proceed even if none of the indexed files exist.")
    ] = False,
    debug: DebugOption = False,
) -> None:
    """Remove the entries of files that no longer exist.

    If none of its files exists, a disk may be missing, and nothing is removed without --all.

    Example: vidtldr index prune my.index --dry-run

    Exit codes: 0 done, 2 nothing could be done.
    """
    with clear_errors(debug):
        from vidtldr.cli.terminal import counted, printable
        from vidtldr.store.index_writer import IndexWriter
        from vidtldr.store.verify import gone_files
        from vidtldr.store.video_index import VideoIndex

        opened = VideoIndex(index)
        gone = gone_files(opened)
        num_files = len(opened.known_files()) + opened.num_failures
        if dry_run:
            for path in gone:
                typer.echo(printable(path))
        elif gone:
            if len(gone) == num_files and not everything:
                raise ValueError(
                    f"index must have at least one existing file, got {str(index)!r} with all "
                    f"{num_files} gone. Bring back their disk, or add --all."
                )
            with IndexWriter(index) as writer:
                writer.remove(gone)
                writer.compact()
        verb = "would be removed" if dry_run else "removed"
        typer.echo(f"{printable(str(index))}: {len(gone)} of {counted(num_files, 'file')} {verb}")


@app.command("export")
@spread_options
def export(
    index: IndexArgument,
    output: Annotated[
        Path,
        Writes(),
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help=PARQUET_HELP,
            show_default=False,
        ),
    ],
    debug: DebugOption = False,
) -> None:
    """Write all rows and columns of an index to a Parquet file.

    Example: vidtldr index export my.index -o rows.parquet

    Exit codes: 0 written, 2 not written.
    """
    with clear_errors(debug, f"{str(output)!r} is not written"):
        validate_outputs([Output(output, endings=PARQUET_FILE)])
        from vidtldr.cli.terminal import counted, printable
        from vidtldr.store.export import export_parquet
        from vidtldr.store.video_index import VideoIndex

        opened = VideoIndex(index)
        if not opened.num_rows:
            raise ValueError(
                f"INDEX must have rows to export, got {str(index)!r} with none. Add videos with "
                "vidtldr index add."
            )
        count = export_parquet(opened, output)
        size = f"{counted(count, 'row')} of {opened.settings.num_channels} channels"
        typer.echo(f"wrote {printable(str(output))}: {size}")
