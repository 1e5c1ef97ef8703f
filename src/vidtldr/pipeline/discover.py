"""Find the videos that folders, patterns, lists and names stand for."""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from glob import has_magic, iglob

__all__ = ["VIDEO_SUFFIXES", "Discovered", "discover"]

VIDEO_SUFFIXES = frozenset(
    [
        ".3g2",
        ".3gp",
        ".asf",
        ".avi",
        ".divx",
        ".f4v",
        ".flv",
        ".gif",
        ".m2ts",
        ".m2v",
        ".m4v",
        ".mjpeg",
        ".mkv",
        ".mov",
        ".mp4",
        ".mpeg",
        ".mpg",
        ".mts",
        ".mxf",
        ".ogm",
        ".ogv",
        ".rm",
        ".rmvb",
        ".ts",
        ".vob",
        ".webm",
        ".wmv",
        ".y4m",
    ]
)
LIST_SUFFIXES = (".txt", ".lst")
STDIN = "-"


@dataclass(frozen=True)
class Discovered:
    """What was found.

    Attributes:
        files: Absolute paths, each once, in the order of the sources and sorted within a folder.
        unreadable: Folders that could not be listed, with the reason.
    """

    files: tuple[str, ...]
    unreadable: tuple[tuple[str, str], ...]


def discover(sources: Sequence[str]) -> Discovered:
    """Find videos.

    Of a folder, and of what a pattern matches, every file with the suffix of a video counts, also
    an empty or unreadable one; folders are searched to any depth, links are followed, and a folder
    that is met twice is searched once. A file that is named, or stands in a list, counts whatever
    its suffix.

    Args:
        sources: Folders; files; patterns such as "videos/**/*.mp4"; lists, which end in .txt or
            .lst and have a path a line, relative to the current directory; or "-", a list on the
            standard input.

    Raises:
        ValueError: If a source is not there, or a pattern matches nothing.
        OSError: If a list cannot be read.
    """
    found: dict[str, None] = {}
    unreadable: list[tuple[str, str]] = []
    seen: set[tuple[int, int]] = set()

    def failed(error: OSError) -> None:
        unreadable.append((str(error.filename), error.strerror or str(error)))

    for source in sources:
        for path in _files_of(source, failed, seen):
            found.setdefault(os.path.abspath(path))
    return Discovered(tuple(found), tuple(unreadable))


def _files_of(
    source: str, failed: Callable[[OSError], None], seen: set[tuple[int, int]]
) -> Iterator[str]:
    if source == STDIN:
        yield from _lines(sys.stdin.read())
    elif os.path.isdir(source):
        yield from _walk(source, failed, seen)
    elif os.path.lexists(source):
        if source.lower().endswith(LIST_SUFFIXES):
            with open(source, encoding="utf-8", errors="surrogateescape") as file:
                yield from _lines(file.read())
        else:
            yield source
    elif has_magic(source):
        matches = sorted(iglob(source, recursive=True))
        if not matches:
            raise ValueError(
                f"source must match a file or folder, got the pattern {source!r}, which matches "
                "none. Check it."
            )
        for match in matches:
            if os.path.isdir(match):
                yield from _walk(match, failed, seen)
            elif _is_video(match):
                yield match
    else:
        raise ValueError(
            f"source must be a folder, file, pattern or list that is there, got {source!r}. Check "
            "the name."
        )


def _walk(top: str, failed: Callable[[OSError], None], seen: set[tuple[int, int]]) -> Iterator[str]:
    for folder, folders, names in os.walk(top, onerror=failed, followlinks=True):
        status = os.stat(folder)
        if (status.st_dev, status.st_ino) in seen:
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders.sort()
        yield from (os.path.join(folder, name) for name in sorted(names) if _is_video(name))


def _lines(text: str) -> Iterator[str]:
    return (line for line in text.splitlines() if line.strip())


def _is_video(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in VIDEO_SUFFIXES
