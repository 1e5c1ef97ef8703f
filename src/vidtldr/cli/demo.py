"""`vidtldr demo`: the bundled model at work, unmerged and merged."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer

from vidtldr.cli.errors import clear_errors

if TYPE_CHECKING:
    from vidtldr.shapes.demo import Demo

__all__ = ["demo"]


def demo(
    directory: Annotated[
        Path | None,
        typer.Argument(
            help="New or empty directory to keep the clips in; a temporary one by default.",
            show_default=False,
        ),
    ] = None,
    num: Annotated[int, typer.Option(min=2, max=500, help="Clips to write.")] = 12,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Make clips of coloured shapes; search, ask and label them unmerged and merged.

    Needs no network and no files: the clips are drawn, and the model is in the package. It ends
    with a page that shows what was merged in the first clip.

    Exit codes: 0 shown, 2 it could not be.
    """
    with clear_errors(debug):
        from vidtldr.cli.demo_output import print_demo
        from vidtldr.cli.load_umt_model import BUNDLED_NOTE
        from vidtldr.cli.progress import phases
        from vidtldr.cli.quiet import quiet_transformers
        from vidtldr.shapes.demo import run_demo

        typer.echo(BUNDLED_NOTE, err=True)
        quiet_transformers()
        with _kept_or_temporary(directory) as out:
            with phases() as on_step:
                result = run_demo(out, num, on_step)
            print_demo(result, directory)
            _end_with_report(result, out, directory)


def _end_with_report(result: "Demo", clips: Path, kept: Path | None) -> None:
    from vidtldr.cli.demo_report import write_demo_report
    from vidtldr.cli.progress import status
    from vidtldr.cli.text import printable
    from vidtldr.visualize.report_extra import validate_report_extra

    try:
        validate_report_extra()
    except ImportError as error:  # the demo itself needs no extra
        typer.echo(f"no report: {error}")
        return
    with status("drawing what was merged"):
        page = write_demo_report(result, clips, kept)
    typer.echo(f"see what was merged: {printable(str(page))}")


@contextmanager
def _kept_or_temporary(directory: Path | None) -> Iterator[Path]:
    if directory is not None:
        yield directory
        return
    with TemporaryDirectory(prefix="vidtldr-demo-") as temporary:
        yield Path(temporary)
