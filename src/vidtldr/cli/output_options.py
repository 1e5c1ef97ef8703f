"""What a command reads and writes, checked before the work so that no file is lost.

Options mark what they read with `Reads`; outputs are checked against all of that. Does not import
torch.
"""

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from contextvars import ContextVar
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Annotated, Any, ClassVar, NamedTuple

import typer

import vidtldr
from vidtldr.files import STDOUT, is_stream

__all__ = [
    "HTML_FILE",
    "JSON_FILE",
    "JSON_HELP",
    "PARQUET_FILE",
    "PARQUET_HELP",
    "Output",
    "Reads",
    "ReportOption",
    "ResultOptions",
    "Writes",
    "path_parser",
    "reading",
    "validate_cache",
    "validate_new_directory",
    "validate_not_inside",
    "validate_outputs",
]


@dataclass(frozen=True)
class Reads:
    """Marks an option or argument that may name what is read: `Annotated[Path, Reads(), ...]`.

    Attributes:
        is_kept_whole: Whether nothing may be written into a folder that it names, such as an index.
        names: Values that are names, not paths.
        stands_for: The file that is read of a folder that it names; None for more than one.
    """

    is_kept_whole: bool = True
    names: tuple[str, ...] = ()
    stands_for: str | None = None


@dataclass(frozen=True)
class Writes:
    """Marks an option that names a file to write."""


def path_parser(name: str, *, is_written: bool) -> Callable[[str], Path]:
    """Return a parser of a path that knows what was typed, of which a `Path` drops a part.

    Args:
        name: The option or argument, as typed.
        is_written: Whether it names a file to write, which a folder, with its slash, is not.
    """

    def parse(typed: str) -> Path:
        if not str(typed):
            raise typer.BadParameter(f"{name} must be a path, got ''. Leave it out, or name one.")
        if is_written and str(typed).endswith(os.sep):
            raise typer.BadParameter(
                f"{name} must be a file, got the directory {typed!r}. Name a file in it."
            )
        return Path(typed)

    return parse


class Output(NamedTuple):
    """A file to write, the option that sets it, and the endings that its format may have."""

    path: Path
    option: str = "--output"
    endings: tuple[str, ...] = ()


JSON_FILE, PARQUET_FILE, HTML_FILE = (".json",), (".parquet",), (".html", ".htm")
_read: ContextVar[Sequence[tuple[Reads, Any]]] = ContextVar("_read", default=())


@contextmanager
def reading(marks: Mapping[str, Reads], values: Mapping[str, Any]) -> Iterator[None]:
    """Remember what the command reads; if a file goes to standard output, print text on stderr.

    Args:
        marks: The marked parameters.
        values: The values of all parameters.
    """
    before = _read.set([(mark, values[name]) for name, mark in marks.items()])
    try:
        if STDOUT in [value for value in values.values() if isinstance(value, Path)]:
            with redirect_stdout(sys.stderr):
                yield
        else:
            yield
    finally:
        _read.reset(before)


def validate_outputs(outputs: Sequence[Output], videos: Iterable[str] = ()) -> None:
    """Check that all outputs can be written and destroy nothing, before hours are spent on them.

    Args:
        outputs: Everything that is written.
        videos: Videos that are read, in addition to the options marked by `Reads`.

    Raises:
        ValueError: If one cannot be written, has the ending of another format, or would overwrite
            another output or what is read.
    """
    for output in outputs:
        _validate_place(output)
    for one, other in combinations(outputs, 2):
        if os.path.realpath(one.path) == os.path.realpath(other.path):
            raise ValueError(
                f"{other.option} must not overwrite the file of {one.option}, got "
                f"{str(other.path)!r} for both. Name another."
            )
    read = [*_read_paths(), *((Path(video), False) for video in videos)]
    for output in outputs:
        if not is_stream(output.path):
            _validate_keeps(output, read)


def _validate_place(output: Output) -> None:
    path, option, endings = output
    if path == STDOUT:
        return
    if _mode(path, option) is not None:
        if not (path.is_file() or is_stream(path)):
            kind = "directory" if path.is_dir() else "device"
            raise ValueError(f"{option} must be a file, got the {kind} {str(path)!r}. Name a file.")
        if not os.access(path, os.W_OK):
            raise ValueError(
                f"{option} must be a file that you may write, got {str(path)!r}. Name another."
            )
        if is_stream(path):
            return
    if endings and path.suffix and path.suffix.lower() not in endings:
        raise ValueError(
            f"{option} must end in {' or '.join(endings)}, got {str(path)!r}. Write "
            f"{path.with_suffix(endings[0])}."
        )
    parent = Path(os.path.realpath(path)).parent
    if not os.access(parent, os.W_OK | os.X_OK):  # also false if it does not exist
        remedy = "Choose another" if parent.is_dir() else "Create the directory or choose another"
        raise ValueError(
            f"{option} must be in an existing, writable directory, got {str(path)!r}. {remedy}."
        )


def _mode(path: Path, option: str) -> int | None:
    """The kind of a file, links followed; None if there is none.

    Raises:
        ValueError: If there can be none, such as of a name that is too long, or a link to itself.
    """
    try:
        return path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        name = str(path)
        shown = name if len(name) < 256 else f"{name[:60]}..."
        why = (error.strerror or str(error)).lower()
        raise ValueError(
            f"{option} must be a path that can exist, got {shown!r} ({why}). Name another."
        ) from error


def _read_paths() -> Iterator[tuple[Path, bool]]:
    """All paths that marked options may name, and whether nothing may be written into them."""
    yield Path(vidtldr.__file__).parent, True  # the bundled model
    for mark, value in _read.get():
        for typed in value if isinstance(value, list | tuple) else [value]:
            if typed is not None and typed not in mark.names:
                for path in _named(str(typed)):
                    yield path, mark.is_kept_whole
                    if mark.stands_for is not None:
                        yield path / mark.stands_for, False


def _named(typed: str) -> Iterator[Path]:
    """The paths that a value may name: itself, or behind `umt:`, `labels=` and the like."""
    for text in (typed, typed.partition(":")[2], typed.partition("=")[2]):
        if text:
            yield Path(os.path.expanduser(text))


def _validate_keeps(output: Output, read: Sequence[tuple[Path, bool]]) -> None:
    path, option, _ = output
    for each, is_kept_whole in read:
        if _is_same(path, each):
            raise ValueError(
                f"{option} must not overwrite an input, got {str(path)!r} for both. Name another."
            )
        if is_kept_whole and _is_inside(path, each):
            raise ValueError(
                f"{option} must not be inside what is read, got {str(path)!r} in {str(each)!r}. "
                "Name another directory."
            )


def _is_same(path: Path, other: Path) -> bool:
    try:
        return os.path.realpath(path) == os.path.realpath(other) or path.samefile(other)
    except (OSError, ValueError):  # one of them does not exist, or cannot
        return False


def _is_inside(path: Path, folder: Path) -> bool:
    try:
        is_folder = folder.is_dir()
    except (OSError, ValueError):  # no file has such a name
        return False
    real = Path(os.path.realpath(path))
    return is_folder and real.is_relative_to(os.path.realpath(folder))


def validate_new_directory(path: Path) -> None:
    """Check that the argument DIRECTORY is new or empty, can be made, and is not inside an input.

    Raises:
        ValueError: If it is not.
    """
    validate_not_inside(path, "DIRECTORY")
    if path.is_symlink() and not path.exists():
        raise ValueError(
            f"DIRECTORY must be new or empty, got {str(path)!r}, a link to nothing. Remove it, or "
            "choose another directory."
        )
    if path.exists() and not (path.is_dir() and not any(path.iterdir())):
        raise ValueError(
            f"DIRECTORY must be new or empty, got {str(path)!r}. Choose another directory."
        )
    _validate_nearest(path, "DIRECTORY")


def _validate_nearest(path: Path, option: str) -> None:
    """Check that a directory can be made where there is none, with those above it."""
    nearest = next(each for each in (path, *path.absolute().parents) if os.path.lexists(each))
    if not (nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK)):
        raise ValueError(
            f"{option} must be in a directory that you may write, got {str(path)!r} in "
            f"{str(nearest)!r}. Choose another."
        )


def validate_not_inside(directory: Path, option: str) -> None:
    """Check that a directory to write can exist and is neither what is read nor inside of it.

    Args:
        directory: As typed.
        option: The option or argument that names it.

    Raises:
        ValueError: If it cannot be, or is. Standard output is no directory.
    """
    if directory == STDOUT:
        raise ValueError(f"{option} must be a directory, got '-'. For one of this name write ./-.")
    _mode(directory, option)
    _validate_keeps(Output(directory, option), list(_read_paths()))


def validate_cache(path: Path | None) -> None:
    """Check that the cache is a directory or can be made.

    Raises:
        ValueError: If it is a file, a link to nothing, or in a place that cannot be written.
    """
    if path is None or (_mode(path, "--cache") is not None and path.is_dir()):
        return
    if path.exists() or path.is_symlink():
        kind = "the file" if path.exists() else "the link to nothing"
        raise ValueError(f"--cache must be a directory, got {kind} {str(path)!r}. Name another.")
    _validate_nearest(path, "--cache")


PARQUET_HELP = "Parquet file to write; - is standard output. A link is followed."
JSON_HELP = "Write the whole result as JSON; - is standard output. A link is followed."
ReportOption = Annotated[
    Path | None,
    Writes(),
    typer.Option(metavar="HTML", help="Write plots and tables to a self-contained HTML page."),
]


@dataclass(frozen=True)
class ResultOptions:
    """What to write, and how to print."""

    panel: ClassVar = "Output"

    output: Annotated[
        Path | None,
        Writes(),
        typer.Option("--output", "-o", metavar="FILE", help=JSON_HELP),
    ] = None
    plot: Annotated[
        Path | None, Writes(), typer.Option(metavar="FILE", help="Draw FILE.png and FILE.svg.")
    ] = None
    report: ReportOption = None
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the result as one line of JSON and nothing else.")
    ] = False

    def validate(self) -> None:
        """Check before the work that every output can be written.

        Raises:
            ValueError: As `validate_outputs`, or if plots would go to standard output.
        """
        if self.plot is not None:
            if is_stream(self.plot):
                raise ValueError(
                    f"--plot must name two files, FILE.png and FILE.svg, got {str(self.plot)!r}. "
                    "Write --plot FILE."
                )
            _validate_place(Output(self.plot, "--plot"))
        validate_outputs(self.outputs())

    def outputs(self) -> list[Output]:
        """Return every file to write."""
        outputs = []
        if self.output is not None:
            outputs.append(Output(self.output, endings=JSON_FILE))
        if self.report is not None:
            outputs.append(Output(self.report, "--report", HTML_FILE))
        if self.plot is not None:
            outputs += [
                Output(self.plot.with_suffix(ending), "--plot") for ending in (".png", ".svg")
            ]
        return outputs
