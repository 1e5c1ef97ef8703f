"""One writer at a time: an operating-system file lock, released when its holder dies."""

import errno
import fcntl
import os
from pathlib import Path
from types import TracebackType
from typing import Self

__all__ = ["LOCK_FILE", "WriterLock", "is_locked", "refuse_if_locked"]

LOCK_FILE = "writer.lock"


class WriterLock:
    """Lock held by the process that writes an index; processes it starts do not inherit it.

    The lock file is never deleted: what counts is the lock on it, which the system releases when
    the holder ends, however it ends. If somebody deletes it, `validate_held` notices. On a network
    disk this requires a file system that propagates locks between machines.

    Args:
        directory: The index's directory; must exist.

    Raises:
        BlockingIOError: If another process, or this one, already holds it.
        OSError: If the directory cannot be written to.
    """

    def __init__(self, directory: Path) -> None:
        self._path = directory / LOCK_FILE
        try:
            self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
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

    def validate_held(self) -> None:
        """Check that no other process can hold the lock, as it can once the file is deleted.

        Raises:
            OSError: If the lock file was deleted or replaced, or the lock was released.
        """
        try:
            if self._file >= 0 and os.path.samestat(os.fstat(self._file), os.stat(self._path)):
                return
        except FileNotFoundError:
            pass
        raise OSError(
            f"an index must keep its {LOCK_FILE} while it is written, got "
            f"{str(self._path.parent)!r} where it was deleted or replaced, so that another process "
            "may write too. What was committed before is whole: run the same command again."
        )

    def release(self) -> None:
        """Release the lock; a second call does nothing."""
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
    """Whether a process is writing to the index; needs only read permission."""
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
    """Fail early, before anything heavy is loaded, if the lock cannot be taken.

    Raises:
        BlockingIOError: If a process is writing to the index.
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
