"""`vidtldr convert`: store a published UMT checkpoint as a directory."""

import os
import shlex
from pathlib import Path
from typing import Annotated, Literal

import typer

from vidtldr.cli.errors import clear_errors
from vidtldr.cli.model_options import ModelOptions
from vidtldr.cli.output_options import Reads, validate_new_directory
from vidtldr.cli.run_options import MAX_FRAMES, spread_options
from vidtldr.tasks.model_spec import UMT_PREFIX

__all__ = ["convert"]


@spread_options
def convert(
    checkpoint: Annotated[
        str,
        Reads(),
        typer.Argument(
            help="A published UMT checkpoint, .pth or .safetensors.", show_default=False
        ),
    ],
    directory: Annotated[Path, typer.Argument(help="New directory to write.", show_default=False)],
    task: Annotated[
        Literal["retrieval", "answering"], typer.Option(help="What the weights are for.")
    ] = "retrieval",
    arch: Annotated[
        str | None,
        Reads(names=("b16", "l16")),
        typer.Option(help="Sizes: b16 (the default), l16 or a JSON file."),
    ] = None,
    tokenizer: Annotated[
        str | None,
        Reads(),
        typer.Option(metavar="DIR", help="Tokenizer to store; default: BERT's, cached."),
    ] = None,
    frames: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=MAX_FRAMES,
            help="Frames it was trained with: 12 if fine-tuned (default), else 4.",
        ),
    ] = None,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks of errors.")] = False,
) -> None:
    """Convert a UMT checkpoint to a directory that --model umt:DIRECTORY loads by itself.

    It holds model.safetensors, config.json and the tokenizer, and is complete once
    model.safetensors exists. Pickled code in a checkpoint is never run.

    Example: vidtldr convert msrvtt.pth msrvtt

    Exit codes: 0 written, 2 not written.
    """
    with clear_errors(debug, f"{str(directory)!r} is incomplete: remove it"):
        name = checkpoint.removeprefix(UMT_PREFIX)
        if not Path(name).expanduser().exists():
            raise FileNotFoundError(
                f"CHECKPOINT must be an existing file, got {checkpoint!r}. Check the path."
            )
        validate_new_directory(directory)
        _validate_text(directory)
        from vidtldr.cli.load_model import notes_on_stderr
        from vidtldr.cli.terminal import printable, status
        from vidtldr.models.umt.checkpoint import convert_checkpoint
        from vidtldr.tasks.load import umt_source

        options = ModelOptions(UMT_PREFIX + name, arch=arch, tokenizer=tokenizer, frames=frames)
        weights, config, vocabulary = umt_source(options)
        with status("converting"), notes_on_stderr():
            convert_checkpoint(weights, directory, task=task, config=config, tokenizer=vocabulary)
        named = printable(shlex.quote(f"{UMT_PREFIX}{directory}"))
        typer.echo(f"wrote {printable(str(directory))}: use it as --model {named}")


def _validate_text(directory: Path) -> None:
    try:
        os.path.abspath(directory).encode()
    except UnicodeEncodeError as error:  # the tokenizer's library opens no other
        raise ValueError(
            f"DIRECTORY must have a path that is UTF-8, got {str(directory)!r}. Rename it."
        ) from error
