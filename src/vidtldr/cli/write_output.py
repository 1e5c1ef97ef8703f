"""Write a result's file: its place is checked before the work, and it appears when complete."""

import json
import os
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

__all__ = [
    "validate_cache",
    "validate_different",
    "validate_keeps_inputs",
    "validate_output",
    "whole_file",
    "write_json",
]


def validate_output(path: Path, name: str = "--output") -> None:
    """Refuse a place that cannot be written to, before hours are spent on what goes there.

    Args:
        path: The file.
        name: The option that says it.

    Raises:
        ValueError: If it is a directory, or its directory is not there or not writable.
    """
    if path.is_dir():
        raise ValueError(f"{name} must be a file, got the directory {str(path)!r}. Add a name.")
    if not os.access(path.parent, os.W_OK | os.X_OK):  # false where nothing is there, too
        raise ValueError(
            f"{name} must lie in a directory that is there and writable, got {str(path)!r}. "
            "Make the directory first."
        )


def validate_different(places: Sequence[tuple[Path, str]]) -> None:
    """Refuse to write one file over another.

    Args:
        places: Files, and what says each.

    Raises:
        ValueError: If two are the same file.
    """
    seen: dict[str, str] = {}
    for path, name in places:
        other = seen.setdefault(os.path.realpath(path), name)
        if other != name:
            raise ValueError(
                f"{name} must not write over the file of {other}, got {str(path)!r} for both. "
                "Name another."
            )


def validate_keeps_inputs(places: Sequence[tuple[Path, str]], inputs: Sequence[str | Path]) -> None:
    """Refuse to write a result over what it is made of.

    Args:
        places: Files to write, and what says each.
        inputs: Files that are read.

    Raises:
        ValueError: If one is both.
    """
    read = {os.path.realpath(each) for each in inputs}
    for path, name in places:
        if os.path.realpath(path) in read:
            raise ValueError(
                f"{name} must not write over what is read, got {str(path)!r} for both. Name "
                "another."
            )


def validate_cache(path: Path | None) -> None:
    """Refuse a cache that is a file.

    Raises:
        ValueError: If it is one.
    """
    if path is not None and path.exists() and not path.is_dir():
        raise ValueError(f"--cache must be a directory, got the file {str(path)!r}. Name another.")


def write_json(path: Path, value: dict[str, Any]) -> None:
    """Write an object, whole or not at all.

    Raises:
        OSError: If it cannot be written.
    """
    with whole_file(path) as partial:
        partial.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Let a file appear when it is complete.

    Args:
        path: The file.

    Yields:
        Another name in the same directory, with the same ending, to write to.

    Raises:
        OSError: If it cannot be written.
    """
    partial = path.with_name(f".{uuid.uuid4().hex}.partial{path.suffix}")
    try:
        yield partial
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
