"""Find the videos named by folders, patterns, lists and file names."""

import codecs
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from glob import has_magic, iglob
from pathlib import Path

__all__ = ["VIDEO_SUFFIXES", "Discovered", "discover", "files_below", "find_videos"]

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
    """Result of `discover` and `find_videos`.

    Attributes:
        files: Paths, in the order of the sources and sorted within a folder; those of `discover`
            are absolute and unique.
        unreadable: Folders that could not be listed, with the reason.
    """

    files: tuple[str, ...]
    unreadable: tuple[tuple[str, str], ...]


def discover(sources: Sequence[str]) -> Discovered:
    """Find videos.

    In a folder, and among the matches of a pattern, every file with a video suffix counts, even an
    empty or unreadable one. Folders are searched recursively, links are followed, and a folder
    reached twice is searched once. A file named directly or in a list counts whatever its suffix.

    Args:
        sources: Folders; files; patterns such as "videos/**/*.mp4"; lists, which end in .txt or
            .lst and have one path per line, relative to the current directory; or "-", a list on
            standard input.

    Raises:
        ValueError: If a source does not exist, a pattern matches nothing, or a list is UTF-16.
        OSError: If a list cannot be read.
    """
    for source in sources:
        if source != STDIN and not os.path.lexists(source) and not has_magic(source):
            raise ValueError(
                f"source must be an existing folder, file, pattern or list, got {source!r}. Check "
                "the name."
            )
    found = find_videos(sources)
    return Discovered(tuple(dict.fromkeys(map(os.path.abspath, found.files))), found.unreadable)


def find_videos(sources: Sequence[str]) -> Discovered:
    """Find videos as `discover` does, each as it is named, and as often.

    A source that does not exist counts as a file, so that reading it gives its error.

    Raises:
        ValueError: If a pattern matches nothing.
        OSError: If a list cannot be read.
    """
    unreadable: list[tuple[str, str]] = []
    seen: set[tuple[int, int]] = set()

    def failed(error: OSError) -> None:
        unreadable.append((str(error.filename), error.strerror or str(error)))

    files = [path for source in sources for path in _files_of(source, failed, seen)]
    return Discovered(tuple(files), tuple(unreadable))


def _files_of(
    source: str, failed: Callable[[OSError], None], seen: set[tuple[int, int]]
) -> Iterator[str]:
    if source == STDIN:
        yield from _lines(sys.stdin.buffer.read(), "the standard input")
    elif os.path.isdir(source):
        yield from _walk(source, failed, seen)
    elif os.path.lexists(source) and source.lower().endswith(LIST_SUFFIXES):
        yield from _lines(Path(source).read_bytes(), repr(source))
    elif has_magic(source) and not os.path.lexists(source):
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
        yield source


def _walk(top: str, failed: Callable[[OSError], None], seen: set[tuple[int, int]]) -> Iterator[str]:
    return (path for path in files_below(top, failed, seen) if _is_video(path))


def files_below(
    top: str, failed: Callable[[OSError], None], seen: set[tuple[int, int]]
) -> Iterator[str]:
    """Yield everything below a folder that is no folder, at any depth, sorted within each folder.

    Links are followed, and links to nothing count, so that reading them gives their error.

    Args:
        top: The folder.
        failed: Called with the error of a folder that cannot be listed.
        seen: Device and number of the folders that were searched before; those are left out.
    """
    for folder, folders, names in os.walk(top, onerror=failed, followlinks=True):
        status = os.stat(folder)
        if (status.st_dev, status.st_ino) in seen:
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders.sort()
        yield from (os.path.join(folder, name) for name in sorted(names))


def _lines(content: bytes, name: str) -> Iterator[str]:
    """The paths of a list; a name may hold any byte but those that end a line."""
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise ValueError(f"a list must be UTF-8, got UTF-16 in {name}. Save it as UTF-8.")
    lines = content.removeprefix(codecs.BOM_UTF8).split(b"\n")
    paths = (os.fsdecode(line.removesuffix(b"\r")) for line in lines)
    return (path for path in paths if path.strip())


def _is_video(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in VIDEO_SUFFIXES
