"""Measurements kept on disk one by one, so that a long benchmark can be stopped and resumed."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

__all__ = ["ResultStore"]


class ResultStore:
    """A file of JSON lines, each a key and what was measured.

    What an interruption left of its last line is passed over.

    Args:
        file: Where to keep them, made with its directory when something is added; None keeps them
            in memory alone.
    """

    def __init__(self, file: Path | None = None) -> None:
        self.file = file
        self._values: dict[str, Any] = {}
        lines = [] if file is None or not file.exists() else file.read_bytes().split(b"\n")
        for line in lines[:-1]:  # a whole line ends, and after the last end there is nothing
            try:
                entry = json.loads(line)
                self._values[_text(entry["key"])] = entry["value"]
            except (ValueError, TypeError, KeyError):  # torn or damaged
                continue

    def __contains__(self, key: Mapping[str, Any]) -> bool:
        return _text(key) in self._values

    def get(self, key: Mapping[str, Any], measure: Callable[[], Any]) -> Any:
        """What was measured under a key; measured now if nothing was.

        Args:
            key: Everything that decides the result, ready for JSON.
            measure: Measures it; returns something ready for JSON.
        """
        if key not in self:
            value = measure()
            self._append({"key": key, "value": value})
            self._values[_text(key)] = value
        return self._values[_text(key)]

    def _append(self, entry: Mapping[str, Any]) -> None:
        if self.file is None:
            return
        self.file.parent.mkdir(parents=True, exist_ok=True)
        with self.file.open("a+b") as file:
            is_torn = file.tell() > 0 and _last_byte(self.file) != b"\n"
            file.write((b"\n" if is_torn else b"") + json.dumps(entry).encode() + b"\n")


def _last_byte(file: Path) -> bytes:
    with file.open("rb") as opened:
        opened.seek(-1, 2)
        return opened.read()


def _text(key: Mapping[str, Any]) -> str:
    return json.dumps(key, sort_keys=True)
