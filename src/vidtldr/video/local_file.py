"""Open a video file so that FFmpeg can access its bytes and nothing else."""

import os
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from vidtldr.video.deadline import OverTimeError, StopFlag

__all__ = [
    "MAX_PICTURE_PIXELS",
    "PictureError",
    "VideoError",
    "VideoMemoryError",
    "is_lack_of_memory",
    "open_video",
    "validate_num_pixels",
    "validate_regular_file",
    "video_error",
    "video_errors",
]

# While a picture is decoded and resized, copies of it take up to 20 bytes a pixel.
MAX_PICTURE_PIXELS = 2**27  # 16K, 15360 x 8640, is the largest format of films

_NUM_LETTERS_OF_REASON = 200


class VideoError(ValueError):
    """A video that cannot be read. The message is one line: the path, what is wrong, what to do."""


class VideoMemoryError(VideoError):
    """A video that needs more memory to read than there is."""


class PictureError(Exception):
    """Pictures too large to read, or too small for the model; `video_errors` adds the path."""


def video_error(path: str, found: str, remedy: str) -> VideoError:
    """Make an error about `path`; control characters in its name are escaped."""
    return VideoError(f"{_start(path)}: {found}. {remedy}")


def _start(path: str) -> str:
    return f"{path!r} cannot be read"


@contextmanager
def video_errors(path: str) -> Iterator[None]:
    """Turn every error of reading a file into a `VideoError`, so that it never ends other files.

    A hostile or very large file can make the libraries raise anything.

    Args:
        path: Path of the file.

    Raises:
        VideoError: In place of any exception but `OverTimeError`.
    """
    try:
        yield
    except (VideoError, OverTimeError):
        raise
    except PictureError as error:
        raise VideoError(f"{_start(path)}: {error}") from error
    except Exception as error:
        words = repr(" ".join(str(error).split()))[1:-1][:_NUM_LETTERS_OF_REASON]  # printable
        if is_lack_of_memory(error):
            message = video_error(
                path,
                "reading it takes more memory than there is",
                "Free some memory, or make a smaller copy of it.",
            )
            raise VideoMemoryError(str(message)) from error
        found = f"reading it failed with {type(error).__name__}"
        raise video_error(
            path,
            f"{found} ({words})" if words else found,
            "Try a copy that was encoded anew, and report the file.",
        ) from error


def is_lack_of_memory(error: Exception) -> bool:
    """Whether a library failed because it got no memory."""
    # BlockingIOError: EAGAIN, no memory for a thread of FFmpeg. torch raises RuntimeError.
    if isinstance(error, (MemoryError, BlockingIOError)):
        return True
    said = ("allocate memory", "out of memory", "can't start new thread")
    return isinstance(error, RuntimeError) and any(words in str(error) for words in said)


def validate_num_pixels(width: int, height: int) -> None:
    """Check that a picture is not too large to be decoded.

    Raises:
        PictureError: If it has more than `MAX_PICTURE_PIXELS` pixels.
    """
    if width * height > MAX_PICTURE_PIXELS:
        raise PictureError(
            f"its pictures of {width}x{height} are too large: at most "
            f"{MAX_PICTURE_PIXELS / 1e6:.0f} million pixels are read. Make a smaller copy of it."
        )


@contextmanager
def open_video(path: str, stop: StopFlag) -> Iterator[tuple[Any, Any]]:
    """Open a local video file and close it after use.

    FFmpeg reads through a Python file object without a name, and every protocol is forbidden: a
    name is never taken for a URL, and a playlist or file list inside cannot open other files.

    Args:
        path: Path of the file.
        stop: Checked at every read.

    Yields:
        PyAV's container and its best video stream by FFmpeg's own rule, set to one thread.
        Measured: on damaged VP8, H.264 and H.265, multi-threaded decoding silently gives other
        pixels, in some cases different ones every run; one thread gives the same frames everywhere.

    Raises:
        VideoError: If this is not a regular file, or not one with a video that FFmpeg decodes.
        PictureError: If its pictures are too large.
        MemoryError: If there is not enough memory.
    """
    import av

    validate_regular_file(path)
    options: dict[str, Any] = {"options": {"protocol_whitelist": "none"}}
    if hasattr(av.container.Container, "metadata_errors"):  # removed in PyAV 19, which never raises
        options["metadata_errors"] = "replace"
    with ExitStack() as stack:
        try:
            file = stack.enter_context(open(path, "rb", buffering=0))
            container = stack.enter_context(av.open(_StoppableReader(file, stop), "r", **options))
        except MemoryError:  # some of FFmpeg's errors are
            raise
        except PermissionError as error:
            raise _forbidden(path) from error
        except (av.FFmpegError, OSError) as error:
            raise video_error(
                path,
                f"FFmpeg cannot read its content ({_reason(error)})",
                "It may be cut off, empty, protected or no video: get a complete copy.",
            ) from error
        yield container, _best_stream(path, container)


class _StoppableReader:
    """A nameless file object for PyAV; reading aborts when the work is told to stop."""

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
    validate_num_pixels(stream.width, stream.height)
    stream.thread_type = "NONE"
    stream.codec_context.thread_count = 1
    return stream


def validate_regular_file(path: str) -> None:
    """Check that a path is a file, since reading a pipe or device may never end.

    Raises:
        VideoError: If it is not.
    """
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError) as error:  # ValueError: a null byte in the name
        if "://" in path:
            raise video_error(
                path, "it is a URL", "Download it first: only local files are read."
            ) from error
        if isinstance(error, PermissionError):
            raise _forbidden(path) from error
        is_missing = isinstance(error, FileNotFoundError)
        found = "there is no such file" if is_missing else f"it is no file ({_reason(error)})"
        raise video_error(path, found, "Check the path.") from error
    if stat.S_ISDIR(mode):
        raise video_error(path, "it is a directory", "Pass one file of it.")
    if not stat.S_ISREG(mode):
        raise video_error(path, "it is no regular file", "Copy it to a file first.")


def _forbidden(path: str) -> VideoError:
    return video_error(
        path,
        "this user is not allowed to read it",
        "Change its permissions, or those of its directories.",
    )


def _reason(error: BaseException) -> str:
    """The system's or FFmpeg's own words, which name no file."""
    return getattr(error, "strerror", None) or str(error)
