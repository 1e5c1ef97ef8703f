"""`vidtldr demo`: show in a minute what merging gains and that answers stay."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer

from vidtldr.cli.errors import clear_errors
from vidtldr.cli.output_options import validate_new_directory
from vidtldr.cli.run_options import spread_options

if TYPE_CHECKING:
    from vidtldr.shapes.demo import Demo

__all__ = ["demo"]


@spread_options
def demo(
    directory: Annotated[
        Path | None,
        typer.Argument(
            help="New or empty directory to keep the clips in; a temporary one by default.",
            show_default=False,
        ),
    ] = None,
    num: Annotated[int, typer.Option(min=2, max=500, help="Clips to write.")] = 12,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks of errors.")] = False,
) -> None:
    """Time a model of a published size, then search, ask and label clips, unmerged and merged.

    The timed model has VideoMAE-B's size and random weights. The answers come from the small
    bundled model, on clips of coloured shapes. Needs no network and no files: the clips are drawn,
    and the model is in the package. Finally it writes a page that shows what was merged in the
    first clip.

    Example: vidtldr demo clips

    Exit codes: 0 shown, 2 not shown.
    """
    with clear_errors(debug):
        if directory is not None:
            validate_new_directory(directory)
        from vidtldr.bench.headline import time_headline
        from vidtldr.cli.demo.output import print_demo
        from vidtldr.cli.load_model import BUNDLED_NOTE
        from vidtldr.cli.terminal import phases
        from vidtldr.shapes.demo import run_demo
        from vidtldr.tasks.quiet import quiet_transformers

        typer.echo(BUNDLED_NOTE, err=True)
        quiet_transformers()
        with _kept_or_temporary(directory) as out:
            with phases() as on_step:
                result = run_demo(out, num, on_step)
                headline = time_headline(on_step)
            print_demo(result, headline, directory)
            _end_with_report(result, out, directory)


def _end_with_report(result: "Demo", clips: Path, kept: Path | None) -> None:
    from vidtldr.cli.demo.output import write_demo_report
    from vidtldr.cli.terminal import status
    from vidtldr.cli.text import printable
    from vidtldr.visualize.report_extra import validate_report_extra

    try:
        validate_report_extra()
    except ImportError as error:  # only the page needs an extra
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
