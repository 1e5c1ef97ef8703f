"""Open a video file so that FFmpeg sees its bytes and nothing else."""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from vidtldr.video.deadline import StopFlag

__all__ = ["VideoError", "open_video", "video_error"]


class VideoError(ValueError):
    """A video that cannot be read. The message is one line: the path, what is wrong, what to do."""


def video_error(path: str, found: str, remedy: str) -> VideoError:
    """Word an error about `path`; control characters in its name are escaped."""
    return VideoError(f"path must name a video that can be read, got {path!r}: {found}. {remedy}")


@contextmanager
def open_video(path: str, stop: StopFlag) -> Iterator[tuple[Any, Any]]:
    """Open a local video file and close it after use.

    FFmpeg reads through a Python file without a name, and every protocol is forbidden: a name is
    never taken for a URL, and a playlist or list of files inside leads nowhere.

    Args:
        path: Path of the file.
        stop: Checked at every read.

    Yields:
        PyAV's container and its best video stream by FFmpeg's own rule, set to one thread.
        Measured: with damaged VP8, H.264 and H.265 several threads give other pixels, some of them
        other pixels every run, and say nothing; one thread gives the same frames everywhere.

    Raises:
        VideoError: If this is not a regular file, or not one with a video that FFmpeg decodes.
    """
    import av

    _validate_regular_file(path)
    options = {"protocol_whitelist": "none"}
    try:
        with open(path, "rb", buffering=0) as file:
            reader = _StoppableReader(file, stop)
            with av.open(reader, "r", options=options, metadata_errors="replace") as container:
                yield container, _best_stream(path, container)
    except (av.FFmpegError, OSError) as error:
        raise video_error(
            path,
            f"FFmpeg cannot read its content ({_reason(error)})",
            "It may be cut off, empty, protected or no video: get a complete copy.",
        ) from error


class _StoppableReader:
    """The file as PyAV wants it: no name, and reading ends when the work is told to stop."""

    def __init__(self, file: Any, stop: StopFlag) -> None:
        self._file, self._stop = file, stop
        self.seek, self.tell = file.seek, file.tell

    def read(self, num_bytes: int) -> bytes:
        self._stop.check()
        return bytes(self._file.read(num_bytes))


def _best_stream(path: str, container: Any) -> Any:
    from av.stream import Disposition

    stream = container.streams.best("video")
    if stream is None or stream.codec_context is None:
        kinds = ", ".join(sorted({each.type for each in container.streams})) or "no streams"
        raise video_error(
            path,
            f"it has no video stream that FFmpeg can decode (it has: {kinds})",
            "Pass a file with pictures in it.",
        )
    if stream.disposition & Disposition.attached_pic:
        raise video_error(
            path, "its only picture is a cover image", "Pass a file with a video in it."
        )
    stream.thread_type = "NONE"
    stream.codec_context.thread_count = 1
    return stream


def _validate_regular_file(path: str) -> None:
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError) as error:  # ValueError: a null byte in the name
        if "://" in path:
            raise video_error(
                path, "it is a URL", "Download it first: only local files are read."
            ) from error
        raise video_error(
            path, f"there is no such file ({_reason(error)})", "Check the path."
        ) from error
    if stat.S_ISDIR(mode):
        raise video_error(path, "it is a directory", "Pass one file of it.")
    if not stat.S_ISREG(mode):
        raise video_error(path, "it is no regular file", "Copy the video to a file first.")


def _reason(error: BaseException) -> str:
    """The system's or FFmpeg's own words, which name no file."""
    return getattr(error, "strerror", None) or str(error)
