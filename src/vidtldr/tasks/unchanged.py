"""Notice that a file changes while it is read, so that no result is filed under another content."""

import os

from vidtldr.video.local_file import VideoError, video_error

__all__ = ["FileChangedError", "FileWatch"]


class FileChangedError(VideoError):
    """The file was written to or replaced while it was read."""


class FileWatch:
    """Remembers which file a path names, from its construction on.

    Args:
        path: The file, which need not exist.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._before = _state(path)

    def validate_unchanged(self) -> None:
        """Check that it is still the same file.

        Raises:
            FileChangedError: If it was written to, replaced or removed.
        """
        if _state(self._path) != self._before:
            message = video_error(
                self._path, "it changed while it was read", "Read it when nobody writes to it."
            )
            raise FileChangedError(str(message))


def _state(path: str) -> tuple[int, ...] | None:
    try:
        status = os.stat(path)
    except (OSError, ValueError):  # ValueError: a null byte in the name
        return None
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns
