"""LanceDB, loaded at its first use; the one place that knows how its errors look."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

__all__ = ["connect", "open_table", "quoted", "readable", "require_lancedb"]

_NO_SPACE = ("No space left", "os error 28", "Disk quota exceeded", "os error 122")


def require_lancedb() -> Any:
    """Return lancedb, so that its absence is known before any work.

    Raises:
        ImportError: If it is not installed.
    """
    os.environ.setdefault("LANCE_LOG", "error")  # its remarks on new tables are not for people
    try:
        return import_module("lancedb")
    except ImportError as error:
        raise ImportError(
            "An index needs LanceDB, which is not installed. Run: pip install 'vidtldr[search]'"
        ) from error


def connect(directory: Path) -> Any:
    """The database in a directory."""
    return require_lancedb().connect(str(directory))


def open_table(directory: Path, name: str) -> Any | None:
    """A table of the index in `directory`; None if it is not there.

    Raises:
        OSError: If it is damaged.
    """
    if not (directory / f"{name}.lance").is_dir():
        return None
    with readable(directory):
        return connect(directory).open_table(name)


@contextmanager
def readable(directory: Path) -> Iterator[None]:
    """Word what LanceDB raises while an index is read or written.

    Raises:
        OSError: Instead of whatever it raised.
    """
    try:
        yield
    except (ValueError, RuntimeError, OSError) as error:
        reason = " ".join(str(error).split())
        if any(words in reason for words in _NO_SPACE):
            raise OSError(
                f"the disk of an index must have room, got {str(directory)!r} without. What was "
                "committed before is whole: free some space and run the same command again."
            ) from error
        if isinstance(error, PermissionError) or "os error 30" in reason:
            raise OSError(
                f"an index must be writable here, got {str(directory)!r}: {reason[:200]}. Change "
                "its permissions, or copy it."
            ) from error
        raise OSError(
            f"an index must be whole, got {str(directory)!r} with damage: {reason[:300]}. Bring "
            "back a copy of it, or index into a new directory."
        ) from error


def quoted(text: str) -> str:
    """A text as a literal of the SQL of filters."""
    return "'" + text.replace("'", "''") + "'"
