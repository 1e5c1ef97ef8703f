"""`vidtldr embed`: write a vector for every video to a Parquet file."""

from pathlib import Path
from typing import Annotated

import typer

from vidtldr.cli.errors import SOME_INPUTS_FAILED, clear_errors
from vidtldr.cli.merge_options import MergeOptions
from vidtldr.cli.output_options import PARQUET_FILE, PARQUET_HELP, Output, validate_outputs
from vidtldr.cli.run_options import (
    CompileOption,
    RunOptions,
    VideosArgument,
    find_videos,
    spread_options,
)
from vidtldr.cli.umt_options import UMTOptions

__all__ = ["embed"]


@spread_options
def embed(
    videos: VideosArgument,
    *,
    umt: UMTOptions,
    output: Annotated[
        Path,
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

    Vectors of a umt: model are unit vectors in the space it shares with texts; those of a
    classifier are the input of its last layer. A video that cannot be read has a row with its
    error and no vector. The file appears once it is complete, and only with a vector in it.

    Example: vidtldr embed a.mp4 b.mp4 --model umt:msrvtt.pth --flop-ratio 0.6 -o
    vectors.parquet

    Exit codes: 0 all embedded, 1 some videos failed, 2 nothing could start.
    """
    with clear_errors(run.debug, f"{str(output)!r} is not written"):
        merge = merging.parse(umt)
        found = find_videos(videos)
        validate_outputs([Output(output, endings=PARQUET_FILE)], found)
        if umt.is_umt:
            _ = umt.checkpoint  # raises if it does not exist
        else:
            umt.validate_for_classifier()
        from vidtldr.tasks.embeddings_file import require_pyarrow

        require_pyarrow()
        from vidtldr.cli.embed.run import embed_to_file
        from vidtldr.cli.load_model import load_embedder, say_if_unmerged

        num_clips = 1 if compiled else None
        embedder = load_embedder(umt, merge, run.time_limit, num_clips)
        say_if_unmerged(embedder.model, merge)
        failed = embed_to_file(embedder, found, output, umt.name, merge, as_json=run.as_json)
    if failed:
        raise typer.Exit(SOME_INPUTS_FAILED)
