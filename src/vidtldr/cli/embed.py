"""`vidtldr embed`: one vector a video, in a Parquet file."""

from pathlib import Path
from typing import Annotated

import typer

from vidtldr.cli.errors import SOME_INPUTS_FAILED, clear_errors
from vidtldr.cli.merge_options import MergeOptions
from vidtldr.cli.run_options import CompileOption, RunOptions, VideosArgument
from vidtldr.cli.spread_options import spread_options
from vidtldr.cli.umt_options import UMTOptions
from vidtldr.cli.write_output import validate_keeps_inputs, validate_output

__all__ = ["embed"]


@spread_options
def embed(
    videos: VideosArgument,
    *,
    umt: UMTOptions,
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", metavar="FILE", help="Parquet file to write.", show_default=False
        ),
    ],
    merging: MergeOptions,
    compiled: CompileOption = False,
    run: RunOptions,
) -> None:
    """Write one row a video: id (a hash of its content), path, seconds, vector.

    Vectors of a umt: model are unit vectors of the space that it shares with texts; those of a
    classifier are what enters its last layer. The file appears when it is complete. A video that
    cannot be read has a row with its error and no vector.

    Exit codes: 0 all embedded, 1 some videos failed, 2 nothing could start.
    """
    with clear_errors(run.debug, f"{str(output)!r} is not written"):
        merge = merging.parse()
        validate_output(output)
        validate_keeps_inputs([(output, "--output")], videos)
        if umt.is_umt:
            _ = umt.checkpoint  # is there
        else:
            umt.validate_for_classifier(merging.preset)
        from vidtldr.cli.embed_videos import embed_to_file, load_embedder
        from vidtldr.tasks.embeddings_file import require_pyarrow

        require_pyarrow()
        num_clips = 1 if compiled else None
        embedder, r = load_embedder(umt, merge, merging.preset, run.time_limit, num_clips)
        failed = embed_to_file(embedder, videos, output, umt.name, merge, r, as_json=run.as_json)
    if failed:
        raise typer.Exit(SOME_INPUTS_FAILED)
