"""Implementation of `vidtldr search` in an index, and its output."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from vidtldr.cli.index.run import IndexModel, typed_model
from vidtldr.cli.load_model import load_embedder, load_retrieval, say_if_unmerged
from vidtldr.cli.merge_options import MergeOptions
from vidtldr.cli.model_options import ModelOptions
from vidtldr.cli.run_options import RunOptions
from vidtldr.cli.search.command import IndexSearchOptions
from vidtldr.cli.terminal import (
    compiled_row,
    one_line,
    print_failed_videos,
    printable,
    progress,
    status,
)
from vidtldr.config import MergeConfig
from vidtldr.store.filters import count_where
from vidtldr.store.video_index import VideoIndex
from vidtldr.tasks.clip_reader import umt_reader
from vidtldr.tasks.embed import umt_embedder
from vidtldr.tasks.search import SearchResult, search_by_vectors
from vidtldr.tasks.search_index import (
    FoundClip,
    find_like,
    find_text,
    find_text_by_vector,
    validate_model,
)
from vidtldr.tasks.video_features import VideoEncoding

__all__ = ["print_json", "print_table", "search_files_by_vectors", "search_in_index"]

_TOP = 10
_RERANK = 128


def search_in_index(
    text: str | None,
    where: IndexSearchOptions,
    spec: ModelOptions,
    merging: MergeOptions,
    rerank: int | None,
    top: int | None,
    run: RunOptions,
) -> None:
    """Search an index with the model it was made with, and print the results.

    Raises:
        ValueError, TypeError, OSError, ImportError: If an argument, a file or an extra is missing
            or invalid.
    """
    assert where.index is not None  # checked by the caller
    index = VideoIndex(where.index)
    count_where(index, where.filter)  # refuses a wrong filter before the model is loaded
    model = typed_model(spec, merging, where.index)
    num_best = top or _TOP
    if where.like is not None:
        found = _like(index, model, where, num_best, rerank, run)
    elif not model.spec.is_umt:
        assert text is not None  # checked with the options
        _refuse_rerank(rerank, "this model has no fusion encoder")
        embedder = load_embedder(model.spec, model.merge, run.time_limit)
        validate_model(index, embedder.identity())
        with status("searching"):
            found = find_text_by_vector(index, embedder, text, top=num_best, where=where.filter)
    else:
        assert text is not None  # checked with the options
        encoding = _encoding(model, run)
        validate_model(index, umt_embedder(encoding).identity())
        if rerank is None:
            rerank = _RERANK if index.settings.keep_tokens else 0
        with status("searching"):
            found = find_text(
                index, encoding, text, top=num_best, where=where.filter, rerank=rerank
            )
    (_print_json if run.as_json else _print_table)(found, index)


def _like(
    index: VideoIndex,
    model: IndexModel,
    where: IndexSearchOptions,
    top: int,
    rerank: int | None,
    run: RunOptions,
) -> list[FoundClip]:
    _refuse_rerank(rerank, "the fusion encoder compares videos with texts, and --like is a video")
    assert where.like is not None
    embedder = load_embedder(model.spec, model.merge, run.time_limit)
    validate_model(index, embedder.identity())
    with status("searching"):
        return find_like(index, embedder, where.like, top=top, where=where.filter)


def search_files_by_vectors(
    text: str,
    videos: Sequence[str],
    spec: ModelOptions,
    merge: MergeConfig | None,
    *,
    rerank: int | None,
    cache: Path | None,
    compile_for: int | None,
    time_limit_seconds: float,
) -> tuple[list[SearchResult], dict[str, Any]]:
    """Search files with a dual encoder of transformers.

    Returns:
        The results, and those of `compiled_row`.

    Raises:
        ValueError, TypeError, OSError, ImportError: If an argument, a file or an extra is missing
            or invalid.
    """
    _refuse_rerank(rerank, "this model has no fusion encoder")
    if cache is not None:
        raise ValueError(
            f"--cache must come with a umt: model, got {str(cache)!r}. Use vidtldr index add to "
            "keep this model's vectors."
        )
    embedder = load_embedder(spec, merge, time_limit_seconds, compile_for)
    with progress("videos", len(videos)) as on_step:
        results = search_by_vectors(embedder, text, videos, on_step=on_step)
    say_if_unmerged(embedder.model, merge, spec)  # last: a text may be refused
    return results, compiled_row(embedder.compiled)


def _refuse_rerank(rerank: int | None, why: str) -> None:
    if rerank:
        raise ValueError(f"--rerank must be left out, got {rerank}: {why}. Leave it out.")


def _encoding(model: IndexModel, run: RunOptions) -> VideoEncoding:
    retrieval = load_retrieval(model.spec)
    reader = umt_reader(retrieval.config, time_limit_seconds=run.time_limit)
    return VideoEncoding(retrieval, reader, model.merge)


def _print_json(found: Sequence[FoundClip], index: VideoIndex) -> None:
    for clip in found:
        row = {
            "video": clip.path,
            "start_seconds": clip.start_seconds,
            "end_seconds": clip.end_seconds,
            "rank": clip.rank,
            "score": clip.score,
            "match_score": clip.match_score,
            "notes": list(clip.notes),
        }
        print(json.dumps(row))


def _print_table(found: Sequence[FoundClip], index: VideoIndex) -> None:
    console = Console(highlight=False)
    if not found:
        console.print("nothing found: no row of the index is looked at with this filter")
        return
    is_cut = index.settings.segment_seconds is not None
    is_matched = any(clip.match_score is not None for clip in found)
    table = Table(box=None, padding=(0, 2, 0, 0))
    for name in (
        "rank",
        *(("match",) if is_matched else ()),
        "cosine",
        *(("time",) if is_cut else ()),
    ):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("video", overflow="fold")
    for clip in found:
        scores = [f"{clip.score:.3f}"]
        if is_matched:
            match = "-" if clip.match_score is None else f"{clip.match_score:.2f}"
            scores.insert(0, match)
        if is_cut:
            scores.append(_span(clip))
        table.add_row(str(clip.rank), *scores, _name(clip))
    console.print(table)


def _span(clip: FoundClip) -> str:
    end = "?" if clip.end_seconds is None else _clock(clip.end_seconds)
    return f"{_clock(clip.start_seconds)}-{end}"


def _clock(seconds: float) -> str:
    whole = int(seconds)
    hours, rest = divmod(whole, 3600)
    minutes = f"{rest // 60:02d}" if hours else str(rest // 60)
    return f"{hours}:{minutes}:{rest % 60:02d}" if hours else f"{minutes}:{rest % 60:02d}"


def _name(clip: FoundClip) -> Text:
    path = Path(clip.path)
    try:
        shown = str(path.relative_to(Path.cwd()))
    except ValueError:
        shown = clip.path
    name = Text(printable(shown))
    for note in clip.notes:
        name.append(f"\nnote: {one_line(note)}", style="yellow")
    return name


def print_json(
    results: Sequence[SearchResult], top: int | None, compiled: Mapping[str, Any]
) -> None:
    """Print one JSON object per video, best first, failed videos last.

    Args:
        results: Results of all videos.
        top: How many to print; None for all.
        compiled: Result of `compiled_row`.
    """
    for result in _best(results, top):
        row = {
            "video": result.path,
            "rank": result.rank,
            "score": result.score,
            "match_score": result.match_score,
            "duration_seconds": result.seconds,
            "notes": list(result.notes),
            "error": None if result.error is None else one_line(result.error),
            **compiled,
        }
        print(json.dumps(row))


def print_table(results: Sequence[SearchResult], top: int | None) -> None:
    """Print a table, best first, and the failed videos."""
    console = Console(highlight=False)
    table = Table(box=None, padding=(0, 2, 0, 0))
    is_matched = any(result.match_score is not None for result in results)
    for name in ("rank", *(("match",) if is_matched else ()), "cosine"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("video", overflow="fold")
    for result in _best(results, top):
        if result.error is None:
            scores = [_number(result.score, 3)]
            if is_matched:
                scores.insert(0, _number(result.match_score, 2))
            table.add_row(str(result.rank), *scores, _name_and_notes(result))
    if table.row_count:
        console.print(table)
    failed = [(result.path, result.error) for result in results if result.error is not None]
    print_failed_videos(console, failed, len(results))


def _best(results: Sequence[SearchResult], top: int | None) -> list[SearchResult]:
    """Return the best results, and all failures, which are never hidden."""
    return [
        result for result in results if result.rank is None or top is None or result.rank <= top
    ]


def _number(value: float | None, num_digits: int) -> str:
    return "-" if value is None else f"{value:.{num_digits}f}"


def _name_and_notes(result: SearchResult) -> Text:
    name = Text(printable(result.path))
    for note in result.notes:
        name.append(f"\nnote: {one_line(note)}", style="yellow")
    return name
