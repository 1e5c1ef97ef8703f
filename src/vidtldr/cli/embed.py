"""`vidtldr embed`: write a vector for every video to a Parquet file."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

import vidtldr
from vidtldr.cli.errors import SOME_INPUTS_FAILED, clear_errors
from vidtldr.cli.merge_options import MergeOptions
from vidtldr.cli.model_options import ModelOptions
from vidtldr.cli.output_options import PARQUET_FILE, PARQUET_HELP, Output, Writes, validate_outputs
from vidtldr.cli.run_options import (
    CompileOption,
    RunOptions,
    VideosArgument,
    find_videos,
    spread_options,
)
from vidtldr.cli.terminal import (
    compiled_row,
    counted,
    one_line,
    print_failed_videos,
    printable,
    progress,
)
from vidtldr.config import MergeConfig

if TYPE_CHECKING:
    from vidtldr.tasks.embed import EmbeddedVideo, Embedder

__all__ = ["embed"]


@spread_options
def embed(
    videos: VideosArgument,
    *,
    spec: ModelOptions,
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
    merging: MergeOptions,
    compiled: CompileOption = False,
    run: RunOptions,
) -> None:
    """Write one row per video: id (a hash of its content), path, seconds, vector.

    Vectors of a model that reads texts are unit vectors in the space it shares with them; those of
    a classifier are the input of its last layer. An image model sees the frames one by one, and
    their vectors are averaged. A video that cannot be read has a row with its
    error and no vector. The file appears once it is complete, and only with a vector in it.

    Example: vidtldr embed a.mp4 b.mp4 --model umt:msrvtt.pth --flop-ratio 0.6 -o
    vectors.parquet

    Exit codes: 0 all embedded, 1 some videos failed, 2 nothing could start.
    """
    with clear_errors(run.debug, f"{str(output)!r} is not written"):
        merge = merging.parse(spec)
        found = find_videos(videos)
        validate_outputs([Output(output, endings=PARQUET_FILE)], found)
        spec.validate(takes_exported=True)
        from vidtldr.tasks.embeddings_file import require_pyarrow

        require_pyarrow()
        from vidtldr.cli.load_model import load_embedder, say_if_unmerged

        num_clips = 1 if compiled else None
        embedder = load_embedder(spec, merge, run.time_limit, num_clips)
        say_if_unmerged(embedder.model, merge, spec)
        failed = _embed_to_file(embedder, found, output, spec.name, merge, as_json=run.as_json)
    if failed:
        raise typer.Exit(SOME_INPUTS_FAILED)


def _embed_to_file(
    embedder: "Embedder",
    videos: Sequence[str],
    output: Path,
    model: str,
    merge: MergeConfig | None,
    *,
    as_json: bool,
) -> int:
    """Embed videos into a file and print each outcome; without any vector there is no file.

    Args:
        embedder: See `load_embedder`.
        videos: Video files.
        output: Parquet file to write.
        model: The model as typed, recorded in the file.
        merge: The requested merge, recorded in the file.
        as_json: Print JSON and nothing else.

    Returns:
        The number of videos that failed.
    """
    from vidtldr.tasks.embed import embed_videos
    from vidtldr.tasks.embeddings_file import write_parquet

    about = {
        "vidtldr": vidtldr.__version__,
        "model": printable(model),
        "num_frames": str(embedder.reader.sampling.num_frames),
        "merge": json.dumps(None if merge is None else merge.to_dict()),
        "r": json.dumps(embedder.r),
    }
    done: list[EmbeddedVideo] = []
    with progress("videos", len(videos)) as on_step, suppress(_NoVectorError):
        rows = _remembered(embed_videos(embedder, videos, on_step=on_step), done)
        write_parquet(rows, output, num_channels=embedder.num_channels, about=about)
    failed = [(row.path, row.error) for row in done if row.error is not None]
    if len(failed) == len(done):
        typer.echo(f"{printable(str(output))} is not written: there is no vector", err=True)
    if as_json:
        _print_json(done, compiled_row(embedder.compiled))
    else:
        console = Console(highlight=False)
        print_failed_videos(console, failed, len(done))
        if num_vectors := len(done) - len(failed):
            size = f"{counted(num_vectors, 'vector')} of {embedder.num_channels}"
            console.print(Text(f"wrote {printable(str(output))}: {size}"), soft_wrap=True)
    return len(failed)


class _NoVectorError(Exception):
    """Ends the writing of a file without any vector, so that it replaces none."""


def _remembered(
    rows: "Iterator[EmbeddedVideo]", done: "list[EmbeddedVideo]"
) -> "Iterator[EmbeddedVideo]":
    for row in rows:
        done.append(replace(row, vector=None))
        yield row
    if all(row.error is not None for row in done):
        raise _NoVectorError


def _print_json(rows: "Sequence[EmbeddedVideo]", compiled: Mapping[str, Any]) -> None:
    for row in rows:
        about = {
            "video": row.path,
            "id": row.id,
            "duration_seconds": row.seconds,
            "notes": list(row.notes),
            "error": None if row.error is None else one_line(row.error),
        }
        print(json.dumps({**about, **compiled}))
