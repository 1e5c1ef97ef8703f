"""`vidtldr search`: find videos by text, in files or in an index."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from vidtldr.cli.errors import SOME_INPUTS_FAILED, clear_errors
from vidtldr.cli.merge_options import MergeOptions
from vidtldr.cli.model_options import ModelOptions
from vidtldr.cli.output_options import Reads, validate_cache
from vidtldr.cli.run_options import (
    VIDEOS_HELP,
    CacheOption,
    CompileOption,
    RunOptions,
    find_videos,
    spread_options,
    validate_text,
    validate_video,
    what_is_kept,
)
from vidtldr.store.settings import read_settings

__all__ = ["IndexSearchOptions", "search"]


@dataclass(frozen=True)
class IndexSearchOptions:
    """Where to search and by what, as typed."""

    index: Annotated[
        Path | None,
        Reads(),
        typer.Option("--index", metavar="INDEX", help="Search this index (vidtldr index add)."),
    ] = None
    like: Annotated[
        str | None,
        Reads(),
        typer.Option(metavar="VIDEO", help="With --index: find clips like this video."),
    ] = None
    filter: Annotated[
        str | None,
        typer.Option(
            metavar="SQL", help='With --index: only rows for which this holds: "seconds > 5".'
        ),
    ] = None

    def validate(
        self, text: str | None, videos: Sequence[str], cache: Path | None, compiled: bool
    ) -> None:
        """Check that the options fit together.

        Raises:
            ValueError: If an option is missing or conflicts with another.
        """
        if self.index is None:
            for name, value in (("--like", self.like), ("--filter", self.filter)):
                if value is not None:
                    raise ValueError(
                        f"{name} must come with --index INDEX, got {value!r}. Make an index first: "
                        "vidtldr index add."
                    )
            if text is None or not videos:
                missing = "neither" if text is None else f"the text {text!r} alone"
                raise ValueError(
                    f"TEXT and VIDEO must be given, got {missing}. Name video files, or an index "
                    "with --index."
                )
            return
        if videos:
            raise ValueError(
                f"VIDEO must be left out with --index, got {videos[0]!r}. Put a text of several "
                "words in quotes; add the video to the index with vidtldr index add."
            )
        if cache is not None:
            raise ValueError(
                f"--cache must be left out with --index, got {str(cache)!r}. An index holds all "
                "that is needed."
            )
        if compiled:
            raise ValueError(
                "--compile must be left out with --index, got both. An index holds vectors, so few "
                "videos are encoded."
            )
        if (text is None) == (self.like is None):
            got = "neither" if text is None else "both"
            raise ValueError(
                f"TEXT or --like must be given with --index, got {got}. Give one of the two."
            )


_RERANK = 128


@spread_options
def search(
    text: Annotated[
        str | None, typer.Argument(help="What to look for.", show_default=False)
    ] = None,
    videos: Annotated[
        list[str] | None,
        Reads(is_kept_whole=False),
        typer.Argument(
            metavar="VIDEO", help=f"{VIDEOS_HELP} None with --index.", show_default=False
        ),
    ] = None,
    *,
    where: IndexSearchOptions,
    spec: ModelOptions,
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
        typer.Option(min=1, help="Videos to show; default: all, or 10 from an index."),
    ] = None,
    cache: CacheOption = None,
    compiled: CompileOption = False,
    run: RunOptions,
) -> None:
    """Find the videos that match a text, best first: in files, or with --index in an index.

    The model is one that reads texts: umt:, CLIP, SigLIP. All videos are ranked by the cosine of
    video and text; with umt:, the best of them then by the fusion encoder's match score. A video
    that cannot be read does not stop the others: it comes last, with the error.

    Example: vidtldr search "a dog runs" a.mp4 b.mp4 --model umt:msrvtt.pth --flop-ratio 0.6

    Exit codes: 0 all read, 1 some videos failed, 2 nothing could start.
    """
    with clear_errors(run.debug, "" if where.index else what_is_kept(cache)):
        where.validate(text, videos or [], cache, compiled)
        if where.index is not None:
            if text is not None:
                validate_text(text, "TEXT", f"--like {text} to find clips like this video")
            if where.like is not None:
                validate_video(where.like)
            read_settings(where.index)  # raises if it is no index
            from vidtldr.cli.search.run import search_in_index

            return search_in_index(text, where, spec, merging, rerank, top, run)
        assert text is not None  # checked above
        assert videos
        merge = merging.parse(spec)
        spec.validate(takes_exported=True)
        validate_text(text, "TEXT", "it first, in quotes: vidtldr search 'a red star' VIDEO")
        found = find_videos(videos)
        validate_cache(cache)
        from vidtldr.cli.load_model import load_retrieval, say_if_unmerged, video_encoding
        from vidtldr.cli.search.run import print_json, print_table, search_files_by_vectors
        from vidtldr.cli.terminal import compiled_row, progress
        from vidtldr.tasks.search import search_videos

        num_clips = 1 if compiled else None
        if spec.is_umt:
            model = load_retrieval(spec)
            encoding = video_encoding(
                model, merge, run.time_limit, cache=cache, compile_for=num_clips
            )
            num_again = _RERANK if rerank is None else rerank
            with progress("videos", len(found)) as on_step:
                results = search_videos(encoding, text, found, rerank=num_again, on_step=on_step)
            say_if_unmerged(model, merge, spec)  # last: a text may be refused
            compiled_as = compiled_row(encoding.compiled)
        else:
            results, compiled_as = search_files_by_vectors(
                text,
                found,
                spec,
                merge,
                rerank=rerank,
                cache=cache,
                compile_for=num_clips,
                time_limit_seconds=run.time_limit,
            )
        if run.as_json:
            print_json(results, top, compiled_as)
        else:
            print_table(results, top)
    if any(result.error is not None for result in results):
        raise typer.Exit(SOME_INPUTS_FAILED)
    return None
