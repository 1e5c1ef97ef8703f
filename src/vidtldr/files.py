"""Read JSON, and write atomically: a file appears only when complete, and replaces only files."""

import json
import os
import shutil
import stat
import sys
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from vidtldr.strict_json import parse_json

__all__ = [
    "STDOUT",
    "is_partial",
    "is_stream",
    "read_json",
    "whole_file",
    "write_bytes",
    "write_json",
]

#: The path that means standard output.
STDOUT = Path("-")
_PARTIAL = ".partial"


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Write a file under a temporary name and rename it at the end; an error leaves nothing behind.

    Args:
        path: The file. An existing one is replaced; of a symbolic link, the file that it points to.
            The complete content is copied to `-`, which is standard output, and into a pipe or a
            character device, such as `/dev/null`.

    Yields:
        A hidden absolute path with the same suffix to write to; for a file, in its directory.

    Raises:
        OSError: If it cannot be written, or is anything else, such as a directory.
    """
    if is_stream(path):
        with _named(path, None), tempfile.TemporaryDirectory() as directory:
            partial = Path(directory) / f"content{path.suffix}"
            yield partial
            with partial.open("rb") as content, _opened(path) as stream:
                shutil.copyfileobj(content, stream)
        return
    target = Path(os.path.realpath(path))
    if target.is_symlink() or (target.exists() and not target.is_file()):  # a link to itself, too
        raise OSError(f"output must be a file, got {str(path)!r}. Name a file.")
    partial = target.with_name(f".{uuid.uuid4().hex}{_PARTIAL}{path.suffix}")
    try:
        with _named(path, partial):
            yield partial
            if target.exists():
                shutil.copymode(target, partial)
            os.replace(partial, target)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def _named(path: Path, partial: Path | None) -> Iterator[None]:
    """Let an error of the system, such as a full disk, name the file and not the temporary one."""
    try:
        yield
    except OSError as error:
        is_own = error.filename is None or (partial and str(error.filename) == str(partial))
        if type(error).__module__ != "builtins" or error.errno is None or not is_own:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error


def is_stream(path: Path) -> bool:
    """Whether content is sent to this path: standard output, a pipe or a character device."""
    if path == STDOUT:
        return True
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):  # does not exist, or cannot
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISCHR(mode)


def _opened(stream: Path) -> IO[bytes]:
    if stream == STDOUT:
        sys.stdout.flush()
        return open(1, "wb", closefd=False)  # the command's own text may be redirected
    return stream.open("wb")


def is_partial(path: Path) -> bool:
    """Whether the name is that of an unfinished file of `whole_file`."""
    return path.name.startswith(".") and _PARTIAL in path.suffixes


def read_json(path: str | Path) -> Any:
    """Read a JSON file in UTF-8, with or without a byte order mark.

    Raises:
        ValueError: If it is no such file, has a key twice, or is nested too deeply to be read; says
            so as the end of a sentence about the file.
        OSError: If it cannot be read.
    """
    try:
        return parse_json(Path(path).read_text(encoding="utf-8-sig"))
    except UnicodeDecodeError as error:
        raise ValueError("it is not UTF-8 text.") from error
    except json.JSONDecodeError as error:
        why = f"{error.msg[:1].lower()}{error.msg[1:]}"
        raise ValueError(
            f"it is no JSON in line {error.lineno}, column {error.colno}: {why}."
        ) from error
    except RecursionError as error:
        raise ValueError("it is nested too deeply to be read.") from error


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file atomically.

    Raises:
        OSError: If it cannot be written.
    """
    with whole_file(path) as partial:
        partial.write_bytes(content)


def write_json(path: Path, value: Any, *, indent: int = 2) -> None:
    """Write a value as JSON, atomically.

    Args:
        path: The file.
        value: A JSON-serialisable value.
        indent: Columns per level.

    Raises:
        OSError: If it cannot be written.
    """
    write_bytes(path, (json.dumps(value, indent=indent) + "\n").encode())
