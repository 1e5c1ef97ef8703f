"""How a command ends: 0 all right, 1 some inputs failed, 2 it was asked for what cannot be."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import typer

from vidtldr.cli.flag_words import in_flags
from vidtldr.cli.text import one_line, printable

__all__ = ["INTERRUPTED", "SOME_INPUTS_FAILED", "clear_errors"]

SOME_INPUTS_FAILED = 1
_USAGE = 2
_FORESEEN = (
    ValueError,
    TypeError,
    NotImplementedError,
    ImportError,
    OSError,
    FloatingPointError,
)
INTERRUPTED = 130  # 128 + SIGINT, as shells have it


@contextmanager
def clear_errors(debug: bool, if_interrupted: str | Callable[[], str] = "") -> Iterator[None]:
    """Turn an error into one line on stderr and an exit code; with `debug`, show its traceback.

    Only what a person can mend is worded so: a value, a type, a file, a missing extra, an
    unsupported combination, an answer that is no number. Anything else is a mistake of ours and
    shows its traceback.

    Args:
        debug: Whether to let the error through.
        if_interrupted: What to add if the person interrupts, such as what was kept; a function
            where that depends on how far the command came.
    """
    try:
        yield
    except _FORESEEN as error:
        if isinstance(error, BrokenPipeError):  # the reader of our output has gone
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(INTERRUPTED) from None
        if debug:
            raise
        typer.echo(f"error: {one_line(in_flags(str(error)))}", err=True)
        raise typer.Exit(_USAGE) from None
    except KeyboardInterrupt:
        said = if_interrupted() if callable(if_interrupted) else if_interrupted
        typer.echo(f"interrupted; {printable(said)}" if said else "interrupted", err=True)
        raise typer.Exit(INTERRUPTED) from None
