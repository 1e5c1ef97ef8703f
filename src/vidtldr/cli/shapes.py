"""`vidtldr shapes`: the world of coloured shapes as files."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from vidtldr.cli.errors import clear_errors

__all__ = ["app"]

MAX_CLIPS = 10_000  # all with captions of their own
MAX_START = 2**40

app = typer.Typer(
    no_args_is_help=True,
    help="The world of coloured shapes that the bundled model knows.",
)


@app.callback()
def _shapes() -> None:
    """Keep `export` a subcommand, though it is the only one."""


@app.command("export")
def export(
    directory: Annotated[
        Path, typer.Argument(help="New or empty directory to write.", show_default=False)
    ],
    num: Annotated[int, typer.Option(min=1, max=MAX_CLIPS, help="Clips to write.")] = 64,
    split: Annotated[
        Literal["train", "validation", "test", "unseen"],
        typer.Option(help="Where from; unseen has pairs of factors that no other split shows."),
    ] = "test",
    seed: Annotated[int, typer.Option(min=0, max=2**31 - 1, help="Seed of the world.")] = 0,
    start: Annotated[int, typer.Option(min=0, max=MAX_START, help="Number of the first clip.")] = 0,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Write clips as H.264 files with annotations that evaluate, search and ask take.

    Captions are in retrieval.json, questions in questions.json and answers.json, labels in
    labels.txt, and the truth about each clip in clips.json. All captions differ.

    Exit codes: 0 written, 2 it could not be.
    """
    with clear_errors(debug, "nothing is kept"):
        from vidtldr.cli.progress import progress
        from vidtldr.cli.text import printable
        from vidtldr.shapes.export import export_clips
        from vidtldr.shapes.world import ShapesWorld

        world = ShapesWorld(seed, split)
        with progress("clips", num) as on_step:
            export_clips(directory, world, num, start=start, on_step=on_step)
        typer.echo(f"wrote {num} clips to {printable(str(directory))}")
