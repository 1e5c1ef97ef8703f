"""Read a JSON list and keep the line on which each entry starts."""

import json
import os
import re
from pathlib import PurePosixPath
from typing import Any, NamedTuple, NoReturn

from vidtldr.strict_json import unique_keys

__all__ = ["Entry", "Field", "read_entries", "read_text"]

_SPACE = re.compile(r"[ \t\r\n]*")
MAX_CHARACTERS = 100_000


class Entry(NamedTuple):
    """One entry of the list.

    Attributes:
        file: The file, as it was given.
        line: Line on which the entry starts, from 1.
        value: What it holds.
    """

    file: str
    line: int
    value: Any

    def refuse(self, rule: str, got: object, remedy: str) -> NoReturn:
        """Raise an error that names the file and the line.

        Raises:
            ValueError: Always.
        """
        shown = repr(got) if len(repr(got)) <= 80 else f"{repr(got)[:77]}..."
        raise ValueError(f"{self.file}, line {self.line}: {rule}, got {shown}. {remedy}")

    def field(self, name: str) -> "Field":
        """Return a value of an entry that must be an object.

        Raises:
            ValueError: If the entry is not an object or lacks the key.
        """
        if not isinstance(self.value, dict):
            self.refuse("the entry must be an object", self.value, "Write {...} with its keys.")
        if name not in self.value:
            self.refuse(f"the entry must have {name!r}", sorted(self.value), "Add the key.")
        return Field(self, name, self.value[name])


class Field(NamedTuple):
    """One value of an entry.

    Attributes:
        entry: The entry.
        name: What to call the value in an error.
        value: What it holds.
    """

    entry: Entry
    name: str
    value: Any

    def text(self, *, may_be_empty: bool = False) -> str:
        """Return the value if it is a text.

        Raises:
            ValueError: If it is not a string, empty, longer than 100,000 characters, or contains a
                lone surrogate.
        """
        value = self.value
        if not isinstance(value, str):
            self.entry.refuse(f"{self.name} must be a string", value, "Put it in quotes.")
        if not (may_be_empty or value.strip()):
            self.entry.refuse(
                f"{self.name} must not be empty", value, "Write it or drop the entry."
            )
        if len(value) > MAX_CHARACTERS:
            rule = f"{self.name} must have at most {MAX_CHARACTERS} characters"
            self.entry.refuse(rule, value, "Shorten it.")
        if any("\ud800" <= character <= "\udfff" for character in value):
            self.entry.refuse(f"{self.name} must be valid Unicode", value, "Repair the characters.")
        return value

    def video(self) -> str:
        """Return the value if it is the path of a video inside the directory of videos.

        Raises:
            ValueError: If it is not; also as for `text`.
        """
        name = self.text()
        parts = PurePosixPath(name).parts
        if "\0" in name or name.startswith(("/", "~")) or ".." in parts:
            rule = f"{self.name} must be a path inside the directory of videos"
            self.entry.refuse(rule, name, "Write it relative to that directory.")
        return name

    def texts(self, *, may_be_empty: bool = False) -> list[str]:
        """Return a string as a list of one, and a list of strings unchanged.

        Raises:
            ValueError: If the value is neither, or the list is empty; also as for `text`.
        """
        values = [self.value] if isinstance(self.value, str) else self.value
        if not isinstance(values, list) or not values:
            rule = f"{self.name} must be a string or a list of strings"
            self.entry.refuse(rule, self.value, "Write one or more strings.")
        return [
            Field(self.entry, self.name, value).text(may_be_empty=may_be_empty) for value in values
        ]


def read_entries(path: str | os.PathLike[str]) -> list[Entry]:
    """Read a file that holds one JSON list.

    Args:
        path: The file, UTF-8.

    Returns:
        Its entries, at least one.

    Raises:
        ValueError: If it is not UTF-8, not valid JSON, not a list, or empty; names the line.
        OSError: If it cannot be read.
    """
    name = os.fspath(path)
    text = read_text(name)
    decoder = json.JSONDecoder(object_pairs_hook=unique_keys, parse_constant=_no_constant)
    start = _skip(text, 0)
    if not text.startswith("[", start):
        Entry(name, _line(text, start), None).refuse(
            "the file must be one JSON list", text[start : start + 20], "Write [entry, entry, ...]."
        )
    entries: list[Entry] = []
    line, counted = _line(text, start), start
    position = _skip(text, start + 1)
    while not text.startswith("]", position):
        line, counted = line + text.count("\n", counted, position), position
        entry = Entry(name, line, None)
        value, position = _decode(decoder, text, position, entry)
        entries.append(entry._replace(value=value))
        position = _next(text, position, entry)
    rest = _skip(text, position + 1)
    if rest < len(text):
        Entry(name, _line(text, rest), None).refuse(
            "nothing must follow the list", text[rest : rest + 20], "Remove it."
        )
    if not entries:
        Entry(name, line, None).refuse("the list must have entries", [], "Add one.")
    return entries


def _decode(decoder: json.JSONDecoder, text: str, position: int, entry: Entry) -> tuple[Any, int]:
    try:
        return decoder.raw_decode(text, position)
    except json.JSONDecodeError as error:
        where = entry._replace(line=error.lineno)
        found = text[error.pos : error.pos + 20]
        where.refuse(f"the file must be valid JSON ({error.msg})", found, "Correct the file.")
    except RecursionError:
        entry.refuse("the entry must not be nested deeply", "more levels than fit", "Flatten it.")
    except ValueError as error:  # a duplicate key, NaN, a number of thousands of digits
        entry.refuse("the entry must be plain JSON", str(error), "Correct the entry.")


def _next(text: str, position: int, entry: Entry) -> int:
    """The start of the next entry, or the closing bracket."""
    position = _skip(text, position)
    if text.startswith("]", position):
        return position
    after = _skip(text, position + 1)
    if not text.startswith(",", position) or after >= len(text) or text[after] == "]":
        where = entry._replace(line=_line(text, position))
        found = text[position : position + 20]
        rule = "entries must have one comma between and none after the last, then ]"
        where.refuse(rule, found, "Correct the file; it may be cut off.")
    return after


def read_text(name: str) -> str:
    """Read a file of annotations, with or without a byte order mark.

    Raises:
        ValueError: If it is not UTF-8; names the line.
        OSError: If it cannot be read.
    """
    with open(name, "rb") as file:
        content = file.read()
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        found = content[error.start : error.start + 4]
        Entry(name, line, None).refuse("the file must be UTF-8", found, "Save it as UTF-8.")


def _no_constant(name: str) -> NoReturn:
    raise ValueError(name)


def _skip(text: str, position: int) -> int:
    match = _SPACE.match(text, position)
    assert match is not None  # it matches the empty string, too
    return match.end()


def _line(text: str, position: int) -> int:
    return text.count("\n", 0, position) + 1
