"""`vidtldr index prune`: rows of files that are gone go, too."""

from typing import Annotated

import typer

from vidtldr.cli.errors import clear_errors
from vidtldr.cli.index_options import DebugOption, IndexArgument

__all__ = ["prune"]


def prune(
    index: IndexArgument,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only list the files that are gone.")
    ] = False,
    everything: Annotated[
        bool, typer.Option("--all", help="Also when not one file of the index is there.")
    ] = False,
    debug: DebugOption = False,
) -> None:
    """Remove what the index knows of files that are not there any more.

    If not one of its files is there, a disk may be missing, and nothing is removed without --all.

    Exit codes: 0 done, 2 nothing could be done.
    """
    with clear_errors(debug):
        from vidtldr.cli.text import printable
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
                    f"index must have files that are there, got {str(index)!r} with all "
                    f"{num_files} gone. Bring back their disk, or add --all."
                )
            with IndexWriter(index) as writer:
                writer.remove(gone)
                writer.compact()
        verb = "would be removed" if dry_run else "removed"
        typer.echo(f"{printable(str(index))}: {len(gone)} of {num_files} files {verb}")
