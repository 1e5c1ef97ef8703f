"""`vidtldr demo` and `vidtldr shapes`: the generated world of coloured shapes."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from vidtldr.cli.errors import clear_errors
from vidtldr.cli.output_options import validate_new_directory
from vidtldr.cli.run_options import spread_options

if TYPE_CHECKING:
    from vidtldr.shapes.demo import Demo

__all__ = ["app", "demo"]


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
        from vidtldr.cli.load_model import BUNDLED_NOTE
        from vidtldr.cli.shapes.output import print_demo
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
    from vidtldr.cli.shapes.output import write_demo_report
    from vidtldr.cli.terminal import printable, status
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


MAX_CLIPS = 10_000  # each with a caption of its own
MAX_START = 2**40

app = typer.Typer(
    no_args_is_help=True,
    help="The generated world of coloured shapes that the bundled model was trained on.",
)


@app.callback()
def _shapes() -> None:
    """Keep `export` a subcommand, though it is the only one."""


@app.command("export")
@spread_options
def export(
    directory: Annotated[
        Path, typer.Argument(help="New or empty directory to write.", show_default=False)
    ],
    num: Annotated[int, typer.Option(min=1, max=MAX_CLIPS, help="Clips to write.")] = 64,
    split: Annotated[
        Literal["train", "validation", "test", "unseen"],
        typer.Option(help="Split; unseen has combinations that no other split contains."),
    ] = "test",
    seed: Annotated[
        int, typer.Option(min=0, max=2**31 - 1, help="Seed of the generated world.")
    ] = 0,
    start: Annotated[int, typer.Option(min=0, max=MAX_START, help="Index of the first clip.")] = 0,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks of errors.")] = False,
) -> None:
    """Write clips as H.264 files with annotations that evaluate, search and ask take.

    Captions are in retrieval.json, questions in questions.json and answers.json, labels in
    labels.txt, and the ground truth of each clip in clips.json. All captions differ.

    Example: vidtldr shapes export clips

    Exit codes: 0 written, 2 not written.
    """
    with clear_errors(debug, "nothing is kept"):
        validate_new_directory(directory)
        from vidtldr.cli.terminal import counted, printable, progress
        from vidtldr.shapes.export import export_clips
        from vidtldr.shapes.world import ShapesWorld

        world = ShapesWorld(seed, split)
        with progress("clips", num) as on_step:
            export_clips(directory, world, num, start=start, on_step=on_step)
        typer.echo(f"wrote {counted(num, 'clip')} to {printable(str(directory))}")
