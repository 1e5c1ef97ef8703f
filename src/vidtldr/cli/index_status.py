"""`vidtldr index status`: what is in an index."""

import json
from typing import Annotated, Any

import typer

from vidtldr.cli.errors import clear_errors
from vidtldr.cli.index_options import DebugOption, IndexArgument, JsonOption

__all__ = ["status"]


def status(
    index: IndexArgument,
    failures: Annotated[
        bool, typer.Option("--failures", help="List every file that failed, with the reason.")
    ] = False,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Show what is in an index, what it was made with, and how large it is.

    Exit codes: 0 shown, 2 there is no such index.
    """
    with clear_errors(debug):
        from vidtldr.cli.index_output import print_fields
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
