"""Find the videos that annotations name."""

import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

__all__ = ["VideoFolder"]

EXTENSIONS = re.compile(
    r"\.(3gp|avi|flv|gif|m4v|mkv|mov|mp4|mpeg|mpg|ogv|ts|webm|wmv)", flags=re.IGNORECASE
)


class VideoFolder:
    """A directory of videos, in which a name may lack its extension.

    Args:
        directory: The directory.

    Raises:
        NotADirectoryError: If it does not exist.
    """

    def __init__(self, directory: str | os.PathLike[str]) -> None:
        self.directory = Path(directory)
        if not self.directory.is_dir():
            raise NotADirectoryError(
                f"`videos` must be a directory, got {str(directory)!r}. Check the path."
            )
        self._listings: dict[Path, dict[str, list[str]]] = {}

    def find(self, name: str) -> str:
        """Return the path of a video.

        A file of exactly this name wins; otherwise, one with a video extension added. If neither
        exists, the path of the name itself is returned, and reading it fails.

        Args:
            name: Path inside the directory.

        Raises:
            ValueError: If several files differ from the name only by an extension.
        """
        path = self.directory / name
        if path.is_file():
            return str(path)
        found = self._listing(path.parent).get(path.name, [])
        if len(found) > 1:
            raise ValueError(
                f"video {name!r} must name one file in {str(self.directory)!r}, got "
                f"{', '.join(sorted(found))}. Add the extension to the annotation."
            )
        return str(path.parent / found[0]) if found else str(path)

    def find_all(self, names: Iterable[str]) -> list[str]:
        """Return the paths of videos; missing ones are left to fail when they are read.

        Raises:
            ValueError: As for `find`.
            FileNotFoundError: If none of them exists.
        """
        wanted = list(names)
        paths = [self.find(name) for name in wanted]
        if not any(map(os.path.isfile, paths)):
            raise FileNotFoundError(
                f"videos must hold the videos of the annotations, got {str(self.directory)!r} "
                f"without any of {len(paths)} ({_shown(wanted)}). Check the directory."
            )
        return paths

    def _listing(self, parent: Path) -> dict[str, list[str]]:
        """The videos of a directory by name without extension."""
        if parent not in self._listings:
            listing: dict[str, list[str]] = {}
            names = sorted(os.listdir(parent)) if parent.is_dir() else []
            for name in names:
                stem, extension = os.path.splitext(name)
                if EXTENSIONS.fullmatch(extension):
                    listing.setdefault(stem, []).append(name)
            self._listings[parent] = listing
        return self._listings[parent]


def _shown(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
