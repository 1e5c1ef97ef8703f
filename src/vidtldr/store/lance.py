"""LanceDB, imported on first use; the only module that interprets its errors."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any
from unicodedata import category

__all__ = [
    "DamagedIndexError",
    "connect",
    "open_table",
    "quoted",
    "readable",
    "require_lancedb",
    "validate_directory",
]

_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:/")
_NO_SPACE = ("No space left", "os error 28", "Disk quota exceeded", "os error 122")


def require_lancedb() -> Any:
    """Import lancedb, so that a missing installation is noticed before any work.

    Raises:
        ImportError: If it is not installed.
    """
    os.environ.setdefault("LANCE_LOG", "error")  # silences its messages about new tables
    try:
        return import_module("lancedb")
    except ImportError as error:
        raise ImportError(
            "An index needs LanceDB, which is not installed. Run: pip install 'vidtldr[search]'"
        ) from error


class DamagedIndexError(OSError):
    """A table of an index cannot be read."""


def validate_directory(directory: str | os.PathLike[str]) -> Path:
    """Check that an index is named by a local directory, not by an address such as `s3://bucket`.

    Raises:
        ValueError: If it is an address, or not UTF-8 or with control characters, which LanceDB
            cannot open.
    """
    name = os.fspath(directory)
    if address := _ADDRESS.match(name):
        typed = f"{address[0]}/{name[address.end() :].lstrip('/')}"  # a `Path` loses a slash
        raise ValueError(
            f"an index must be in a local directory, got the address {typed!r}. Index into a local "
            "directory and copy it; a directory of this name needs its absolute path."
        )
    try:
        os.path.abspath(name).encode()
    except UnicodeEncodeError as error:
        raise ValueError(
            f"an index must be in a directory whose path is UTF-8, got {name!r}. Rename it."
        ) from error
    if any(category(character) == "Cc" for character in os.path.abspath(name)):
        raise ValueError(
            f"an index must be in a directory whose path has no control characters, got {name!r}. "
            "Rename it."
        )
    return Path(name)


def connect(directory: Path) -> Any:
    """Connect to the database in a directory."""
    # Absolute: LanceDB reads a relative name such as "memory:" or "movies:action" as an address.
    return require_lancedb().connect(os.path.abspath(directory))


def open_table(directory: Path, name: str) -> Any | None:
    """Open a table of the index in `directory`; None if nothing was ever committed to it.

    A writer makes the folder of a table before its first version, so a reader that comes between
    the two, or after a writer killed there, finds a folder with neither versions nor data.

    Raises:
        DamagedIndexError: If it is damaged.
    """
    folder = directory / f"{name}.lance"
    if not any((folder / "_versions").glob("*.manifest")) and not any((folder / "data").glob("*")):
        return None
    with readable(directory):
        table = connect(directory).open_table(name)
        _ = table.schema  # a damaged one is noticed here
        return table


@contextmanager
def readable(directory: Path) -> Iterator[None]:
    """Turn LanceDB's errors while an index is read or written into readable ones.

    Raises:
        OSError: In place of LanceDB's error: a `DamagedIndexError` unless it is about the disk's
            room or permissions.
    """
    try:
        yield
    except DamagedIndexError:
        raise
    except BaseException as error:
        is_panic = type(error).__module__.startswith("pyo3")  # damaged files make Rust panic
        if not is_panic and not isinstance(error, (ValueError, RuntimeError, OSError)):
            raise
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
        raise DamagedIndexError(
            f"an index must be whole, got {str(directory)!r} with damage: {reason[:300]}. Bring "
            "back a copy of it, or index into a new directory."
        ) from error


def quoted(text: str) -> str:
    """Quote a text as an SQL literal for filters."""
    return "'" + text.replace("'", "''") + "'"
