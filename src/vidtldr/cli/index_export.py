"""`vidtldr index export`: the rows as a Parquet file."""

from pathlib import Path
from typing import Annotated

import typer

from vidtldr.cli.errors import clear_errors
from vidtldr.cli.index_options import DebugOption, IndexArgument
from vidtldr.cli.write_output import validate_output

__all__ = ["export"]


def export(
    index: IndexArgument,
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", metavar="FILE", help="Parquet file to write.", show_default=False
        ),
    ],
    debug: DebugOption = False,
) -> None:
    """Write all rows and columns of an index to a Parquet file.

    Exit codes: 0 written, 2 not written.
    """
    with clear_errors(debug, f"{str(output)!r} is not written"):
        validate_output(output)
        from vidtldr.cli.text import printable
        from vidtldr.store.export import export_parquet
        from vidtldr.store.video_index import VideoIndex

        opened = VideoIndex(index)
        count = export_parquet(opened, output)
        size = f"{count} rows of {opened.settings.num_channels} channels"
        typer.echo(f"wrote {printable(str(output))}: {size}")
