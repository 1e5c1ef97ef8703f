"""`vidtldr shapes`: export the world of coloured shapes to files."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from vidtldr.cli.errors import clear_errors
from vidtldr.cli.output_options import validate_new_directory
from vidtldr.cli.run_options import spread_options

__all__ = ["app"]

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
        from vidtldr.cli.terminal import progress
        from vidtldr.cli.text import counted, printable
        from vidtldr.shapes.export import export_clips
        from vidtldr.shapes.world import ShapesWorld

        world = ShapesWorld(seed, split)
        with progress("clips", num) as on_step:
            export_clips(directory, world, num, start=start, on_step=on_step)
        typer.echo(f"wrote {counted(num, 'clip')} to {printable(str(directory))}")
