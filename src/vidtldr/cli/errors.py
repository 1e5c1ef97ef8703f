"""Exit codes of commands: 0 success, 1 some inputs failed, 2 the request cannot be met."""

import errno
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import typer

from vidtldr.cli.terminal import in_flags, one_line, printable

__all__ = [
    "INTERRUPTED",
    "SOME_INPUTS_FAILED",
    "clear_errors",
    "end_with",
    "value_error",
]

_PACKAGE = Path(__file__).resolve().parents[1]
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
INTERRUPTED = 130  # 128 + SIGINT, the shell convention


@contextmanager
def clear_errors(debug: bool, if_interrupted: str | Callable[[], str] = "") -> Iterator[None]:
    """Turn an error into one line on stderr and an exit code; with `debug`, show its traceback.

    Only errors that a user can fix become such a line: an invalid value or type, a file, a missing
    extra, an unsupported combination, an output that is NaN, too little memory. Anything else is a
    bug and shows its traceback. So does a `ValueError` or `TypeError` that this package caused
    without a `raise`.

    Args:
        debug: Whether to let the error through.
        if_interrupted: Text to add when the user interrupts, such as what was saved; a function if
            that depends on the progress of the command.
    """
    try:
        yield
    except _FORESEEN as error:
        if isinstance(error, BrokenPipeError):  # the reader of stdout has closed it
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(INTERRUPTED) from None
        if debug or _is_our_mistake(error):
            raise
        end_with(_said(error))
    except (MemoryError, RuntimeError) as error:
        if debug or not _is_memory(error):
            raise
        end_with(
            "this needs more memory than there is. Ask for less at once, such as fewer or shorter "
            "clips."
        )
    except KeyboardInterrupt:
        said = if_interrupted() if callable(if_interrupted) else if_interrupted
        typer.echo(f"interrupted; {printable(said)}" if said else "interrupted", err=True)
        raise typer.Exit(INTERRUPTED) from None


_MAX_NAME = 255
_REMEDIES = {
    errno.ENOENT: "Check the path",
    errno.ENOTDIR: "Check the path",
    errno.EISDIR: "Name a file",
    errno.EACCES: "Change its permissions, or name another",
    errno.EPERM: "Name another",
    errno.ENAMETOOLONG: "Shorten it",
    errno.ENOSPC: "Free some space, or write elsewhere",
    errno.EDQUOT: "Free some space, or write elsewhere",
    errno.EROFS: "Write elsewhere",
}


def _said(error: BaseException) -> str:
    """Say an error of the system as others are said: the file, what is wrong, a remedy."""
    if not isinstance(error, OSError) or error.errno is None or not error.strerror:
        return str(error)
    name = str(error.filename or "")
    shown = repr(name if len(name) <= _MAX_NAME else f"{name[:60]}...")
    remedy = _REMEDIES.get(error.errno)
    why = f"{error.strerror[:1].lower()}{error.strerror[1:]}"
    return f"{f'{shown}: ' * bool(name)}{why}{f'. {remedy}.' * bool(remedy)}"


def end_with(message: str) -> NoReturn:
    """Print an error on one line of stderr and end with the exit code of a wrong request."""
    typer.echo(f"error: {one_line(in_flags(message))}", err=True)
    raise typer.Exit(_USAGE) from None


def value_error(error: typer.BadParameter) -> str:
    """Say what is wrong with the value of an option in the words of all other errors."""
    cause: Any = error.__cause__
    if error.param is None or not hasattr(cause, "errors"):
        return error.message
    details = cause.errors()[0]
    kind, limits, got = details["type"], details.get("ctx", {}), repr(details["input"])
    if kind.startswith("int_"):
        rule, remedy = "an integer", "Write digits alone"
    elif kind.startswith("float_"):
        rule, remedy = "a number", "Write it as 0.5"
    elif "ge" in limits:
        rule, remedy, got = f"at least {limits['ge']}", "Raise it", details["input"]
    elif "le" in limits:
        rule, remedy, got = f"at most {limits['le']}", "Lower it", details["input"]
    else:  # a choice
        choices = details["msg"].partition(" is not one of ")[2].rstrip(".")
        rule, remedy = f"one of {choices.replace(chr(39), '')}", "Choose one of them"
    return f"{max(error.param.opts, key=len)} must be {rule}, got {got}. {remedy}."


def _is_memory(error: BaseException) -> bool:
    """Whether memory is missing, or was asked for in a number that no machine has."""
    said = ("allocate memory", "out of memory", "calculation overflowed", "multiplication overflow")
    return isinstance(error, MemoryError) or any(each in str(error) for each in said)


def _is_our_mistake(error: BaseException) -> bool:
    """Whether a line of this package other than a `raise` failed, such as `int(None)`.

    Errors raised inside libraries do not count: a file or value of the user may have caused them.
    """
    # Subclasses are raised by libraries, some of them in C without a frame of their own.
    if type(error) not in (ValueError, TypeError):
        return False
    last = traceback.extract_tb(error.__traceback__)[-1]
    is_own = Path(last.filename).is_relative_to(_PACKAGE)
    return is_own and last.line is not None and not last.line.startswith("raise ")
