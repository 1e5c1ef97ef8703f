"""`vidtldr search`: which videos fit a text, in files or in an index."""

from typing import Annotated

import typer

from vidtldr.cli.errors import SOME_INPUTS_FAILED, clear_errors
from vidtldr.cli.merge_options import MergeOptions
from vidtldr.cli.run_options import CacheOption, CompileOption, RunOptions, what_is_kept
from vidtldr.cli.search_options import IndexSearchOptions
from vidtldr.cli.spread_options import spread_options
from vidtldr.cli.umt_options import UMTOptions
from vidtldr.cli.write_output import validate_cache

__all__ = ["search"]

_RERANK = 128


@spread_options
def search(
    text: Annotated[
        str | None, typer.Argument(help="What to look for.", show_default=False)
    ] = None,
    videos: Annotated[
        list[str] | None,
        typer.Argument(metavar="VIDEO", help="Video files; none with --in.", show_default=False),
    ] = None,
    *,
    where: IndexSearchOptions,
    umt: UMTOptions,
    merging: MergeOptions,
    rerank: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Best videos to score again with the slower fusion encoder; default 128, in an "
            "index without tokens 0.",
        ),
    ] = None,
    top: Annotated[
        int | None,
        typer.Option(min=1, help="Videos to show; default all, of an index 10."),
    ] = None,
    cache: CacheOption = None,
    compiled: CompileOption = False,
    run: RunOptions,
) -> None:
    """Find the videos that fit a text, best first: in files, or with --in in an index.

    All videos are ranked by the cosine of video and text, then the best by the fusion encoder's
    match score. A video that cannot be read does not stop the others: it comes last, with the
    error.

    Exit codes: 0 all read, 1 some videos failed, 2 nothing could start.
    """
    with clear_errors(run.debug, "" if where.index else what_is_kept(cache)):
        where.validate(text, videos or [], cache, compiled)
        if where.index is not None:
            from vidtldr.cli.search_in_index import search_in_index

            return search_in_index(text, where, umt, merging, rerank, top, run)
        assert text is not None  # checked above
        assert videos
        merge, _ = merging.parse(), umt.checkpoint
        validate_cache(cache)
        from vidtldr.cli.load_umt_model import load_retrieval
        from vidtldr.cli.progress import progress
        from vidtldr.cli.search_output import print_json, print_table
        from vidtldr.cli.video_encoding import video_encoding
        from vidtldr.tasks.search import search_videos

        model = load_retrieval(umt, merging.preset)
        num_clips = 1 if compiled else None
        encoding = video_encoding(model, merge, run.time_limit, cache=cache, compile_for=num_clips)
        num_again = _RERANK if rerank is None else rerank
        with progress("videos", len(videos)) as on_step:
            results = search_videos(encoding, text, videos, rerank=num_again, on_step=on_step)
        (print_json if run.as_json else print_table)(results, top)
    if any(result.error is not None for result in results):
        raise typer.Exit(SOME_INPUTS_FAILED)
    return None
