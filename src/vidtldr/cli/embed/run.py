"""Implementation of `vidtldr embed`."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import typer
from rich.console import Console
from rich.text import Text

import vidtldr
from vidtldr.cli.terminal import compiled_row, print_failed_videos, progress
from vidtldr.cli.text import counted, one_line, printable
from vidtldr.config import MergeConfig
from vidtldr.tasks.embed import EmbeddedVideo, Embedder, embed_videos
from vidtldr.tasks.embeddings_file import write_parquet

__all__ = ["embed_to_file"]


def embed_to_file(
    embedder: Embedder,
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
    rows: Iterator[EmbeddedVideo], done: list[EmbeddedVideo]
) -> Iterator[EmbeddedVideo]:
    for row in rows:
        done.append(replace(row, vector=None))
        yield row
    if all(row.error is not None for row in done):
        raise _NoVectorError


def _print_json(rows: Sequence[EmbeddedVideo], compiled: Mapping[str, Any]) -> None:
    for row in rows:
        about = {
            "video": row.path,
            "id": row.id,
            "duration_seconds": row.seconds,
            "notes": list(row.notes),
            "error": None if row.error is None else one_line(row.error),
        }
        print(json.dumps({**about, **compiled}))
