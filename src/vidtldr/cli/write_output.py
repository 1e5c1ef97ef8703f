"""Write a result's file: its place is checked before the work, and it appears when complete."""

import json
import os
import uuid
from pathlib import Path
from typing import Any

__all__ = ["validate_cache", "validate_output", "write_json"]


def validate_output(path: Path) -> None:
    """Refuse a place that cannot be written to, before hours are spent on what goes there.

    Raises:
        ValueError: If it is a directory, or its directory is not there or not writable.
    """
    if path.is_dir():
        raise ValueError(f"--output must be a file, got the directory {str(path)!r}. Add a name.")
    if not os.access(path.parent, os.W_OK | os.X_OK):  # false where nothing is there, too
        raise ValueError(
            f"--output must lie in a directory that is there and writable, got {str(path)!r}. "
            "Make the directory first."
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
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex}.partial")
    try:
        partial.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
