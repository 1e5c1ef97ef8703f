"""The directory of a new index: checked before hours are spent, and made."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vidtldr.files import is_partial
from vidtldr.store.writer_lock import LOCK_FILE

__all__ = ["make_directory", "validate_new_index"]


def validate_new_index(directory: Path) -> None:
    """Check that a new index can be made in a directory, without making it.

    Raises:
        ValueError: If something else is in it.
        OSError: If it is no directory that can be written to.
    """
    with _not_writable(directory):
        nearest = next(each for each in (directory, *directory.absolute().parents) if _exists(each))
        if not nearest.is_dir():
            raise OSError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        if not os.access(nearest, os.W_OK | os.X_OK):
            raise OSError(errno.EACCES, os.strerror(errno.EACCES))
        files = directory.iterdir() if nearest == directory else ()
        others = {path.name for path in files if not is_partial(path)} - {LOCK_FILE}
    if others:
        raise ValueError(
            f"a new index must be made in a new or empty directory, got {str(directory)!r} with "
            f"{min(others)!r} in it. Name another."
        )


def make_directory(directory: Path) -> None:
    """Make the directory of a new index; raises as `validate_new_index`."""
    validate_new_index(directory)
    with _not_writable(directory):
        directory.mkdir(parents=True, exist_ok=True)


def _exists(path: Path) -> bool:
    return path.exists() or path.is_symlink()  # also a link to nothing


@contextmanager
def _not_writable(directory: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OSError(
            f"an index must be a directory that can be written to, got {str(directory)!r} "
            f"({error.strerror}). Name another."
        ) from error
