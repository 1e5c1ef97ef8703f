"""`vidtldr convert`: a checkpoint with its sizes and tokenizer in one directory."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from vidtldr.cli.errors import clear_errors
from vidtldr.cli.umt_options import PREFIX, UMTOptions

__all__ = ["convert"]


def convert(
    checkpoint: Annotated[
        str,
        typer.Argument(help="A .pth or .safetensors file of UMT as published.", show_default=False),
    ],
    directory: Annotated[Path, typer.Argument(help="New directory to write.", show_default=False)],
    task: Annotated[
        Literal["retrieval", "answering"], typer.Option(help="What the weights are for.")
    ] = "retrieval",
    arch: Annotated[
        str | None, typer.Option(help="Sizes: b16 (the default), l16 or a JSON file.")
    ] = None,
    tokenizer: Annotated[
        str | None,
        typer.Option(metavar="DIR", help="Tokenizer to store; default: BERT's, cached."),
    ] = None,
    frames: Annotated[
        int | None,
        typer.Option(min=1, help="Frames it was trained with: 12 fine-tuned (default), 4 not."),
    ] = None,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Write a checkpoint of UMT as a directory that --model umt:DIRECTORY takes without more.

    It holds model.safetensors, config.json and the tokenizer, and is complete once
    model.safetensors is there. Pickled code in a checkpoint is never run.

    Exit codes: 0 written, 2 it could not be.
    """
    with clear_errors(debug, f"{str(directory)!r} is incomplete: remove it"):
        name = checkpoint.removeprefix(PREFIX)
        if not Path(name).expanduser().exists():
            raise FileNotFoundError(
                f"CHECKPOINT must be a file that is there, got {checkpoint!r}. Check the path."
            )
        from vidtldr.cli.load_umt_model import notes_on_stderr, read_source
        from vidtldr.cli.progress import status
        from vidtldr.cli.text import printable
        from vidtldr.models.umt.checkpoint import convert_checkpoint

        options = UMTOptions(PREFIX + name, arch=arch, tokenizer=tokenizer, frames=frames)
        weights, config, vocabulary = read_source(options)
        with status("converting"), notes_on_stderr():
            convert_checkpoint(weights, directory, task=task, config=config, tokenizer=vocabulary)
        typer.echo(f"wrote {printable(str(directory))}: use it as --model umt:{directory}")
