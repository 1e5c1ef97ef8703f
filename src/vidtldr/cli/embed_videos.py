"""The work of `vidtldr embed`."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.text import Text
from torch import nn

import vidtldr
from vidtldr.cli.failed_videos import print_failed_videos
from vidtldr.cli.load_pretrained import load_pretrained
from vidtldr.cli.load_umt_model import load_retrieval
from vidtldr.cli.progress import progress, status
from vidtldr.cli.say_compiled import say_compiled
from vidtldr.cli.text import one_line, printable
from vidtldr.cli.umt_options import UMTOptions
from vidtldr.cli.video_encoding import video_encoding
from vidtldr.hosts.budget import resolved_r
from vidtldr.hosts.config import MergeConfig
from vidtldr.hosts.patching import apply_patch
from vidtldr.hosts.registry import find_host
from vidtldr.tasks.compiled_classifier import compile_classifier
from vidtldr.tasks.embed import (
    EmbeddedVideo,
    Embedder,
    classifier_embedder,
    embed_videos,
    umt_embedder,
)
from vidtldr.tasks.embeddings_file import write_parquet

__all__ = ["embed_to_file", "load_embedder"]


def load_embedder(
    umt: UMTOptions,
    merge: MergeConfig | None,
    preset: str | None,
    time_limit_seconds: float,
    compile_for: int | None = None,
) -> tuple[Embedder, tuple[int, ...] | None]:
    """Load a model that makes vectors, UMT or a classifier; compile it for so many clips if asked.

    Returns:
        The embedder, and the tokens that each layer removes; None if nothing is to merge.

    Raises:
        ValueError, TypeError, NotImplementedError, ImportError, OSError: With what is wrong and
            what to do.
    """
    if umt.is_umt:
        model = load_retrieval(umt, preset)
        encoding = video_encoding(model, merge, time_limit_seconds, compile_for=compile_for)
        return umt_embedder(encoding), _removed(model, merge)
    pretrained = load_pretrained(umt, None, None)
    if merge is not None:
        apply_patch(pretrained.model, merge)
    twin = None
    if compile_for:
        with status("compiling the model"):
            twin = compile_classifier(pretrained, compile_for)
        say_compiled(twin)
    embedder = classifier_embedder(
        pretrained, merge=merge, time_limit_seconds=time_limit_seconds, compiled=twin
    )
    return embedder, _removed(pretrained.model, merge)


def _removed(model: nn.Module, merge: MergeConfig | None) -> tuple[int, ...] | None:
    return None if merge is None else resolved_r(merge, find_host(model))


def embed_to_file(
    embedder: Embedder,
    videos: Sequence[str],
    output: Path,
    model: str,
    merge: MergeConfig | None,
    r: tuple[int, ...] | None,
    *,
    as_json: bool,
) -> int:
    """Embed videos into a file and print what became of each.

    Args:
        embedder: See `load_embedder`.
        videos: Video files.
        output: Parquet file to write.
        model: As it was typed, for the file.
        merge: What was asked for, for the file.
        r: What that comes to in each layer, for the file.
        as_json: Print JSON and nothing else.

    Returns:
        How many failed.
    """
    about = {
        "vidtldr": vidtldr.__version__,
        "model": printable(model),
        "num_frames": str(embedder.reader.sampling.num_frames),
        "merge": json.dumps(None if merge is None else merge.to_dict()),
        "r": json.dumps(r),
    }
    done: list[EmbeddedVideo] = []
    with progress("videos", len(videos)) as on_step:
        rows = _remembered(embed_videos(embedder, videos, on_step=on_step), done)
        write_parquet(rows, output, num_channels=embedder.num_channels, about=about)
    failed = [(row.path, row.error) for row in done if row.error is not None]
    if as_json:
        _print_json(done)
    else:
        console = Console(highlight=False)
        print_failed_videos(console, failed, len(done))
        num_vectors = len(done) - len(failed)
        size = f"{num_vectors} vectors of {embedder.num_channels}"
        console.print(Text(f"wrote {printable(str(output))}: {size}"))
    return len(failed)


def _remembered(
    rows: Iterator[EmbeddedVideo], done: list[EmbeddedVideo]
) -> Iterator[EmbeddedVideo]:
    for row in rows:
        done.append(replace(row, vector=None))
        yield row


def _print_json(rows: Sequence[EmbeddedVideo]) -> None:
    for row in rows:
        about = {
            "video": row.path,
            "id": row.id,
            "duration_seconds": row.seconds,
            "notes": list(row.notes),
            "error": None if row.error is None else one_line(row.error),
        }
        print(json.dumps(about))
