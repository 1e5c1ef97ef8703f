"""One writer at a time: a lock of the operating system, which dies with its holder."""

import errno
import fcntl
import os
from pathlib import Path
from types import TracebackType
from typing import Self

__all__ = ["LOCK_FILE", "WriterLock", "is_locked", "refuse_if_locked"]

LOCK_FILE = "writer.lock"


class WriterLock:
    """Held by the process that writes an index; no process that it starts inherits it.

    The file stays where it is: what counts is the lock on it, which the system takes back when the
    holder ends, however it ends. On a disk that several machines share, this depends on that disk
    passing locks on.

    Args:
        directory: Of the index; must exist.

    Raises:
        BlockingIOError: If another process, or this one, holds it.
        OSError: If the directory cannot be written to.
    """

    def __init__(self, directory: Path) -> None:
        path = directory / LOCK_FILE
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except OSError as error:
            raise OSError(
                f"an index must be writable, got {str(directory)!r} ({error.strerror}). Change its "
                "permissions, or copy it to where you can write."
            ) from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = _holder(self._file)
            os.close(self._file)
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                raise
            raise _busy(directory, holder) from error
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Let others write; a second call does nothing."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.release()


def is_locked(directory: Path) -> bool:
    """Whether somebody writes the index just now; looking needs no right to write."""
    try:
        file = os.open(directory / LOCK_FILE, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(file)
    return False


def refuse_if_locked(directory: Path) -> None:
    """Say early, before anything heavy is loaded, what taking the lock would say.

    Raises:
        BlockingIOError: If somebody writes the index just now.
    """
    if is_locked(directory):
        raise _busy(directory, (directory / LOCK_FILE).read_text(encoding="ascii").strip())


def _busy(directory: Path, holder: str) -> BlockingIOError:
    return BlockingIOError(
        f"an index must have one writer at a time, got {str(directory)!r} while process {holder} "
        "writes it. Wait until it ends, or index into another directory."
    )


def _holder(file: int) -> str:
    return os.pread(file, 32, 0).decode("ascii", "replace").strip() or "unknown"
