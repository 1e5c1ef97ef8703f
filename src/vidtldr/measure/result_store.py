"""Measurements kept on disk one by one, so that a long benchmark can be stopped and resumed."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

__all__ = ["ResultStore"]


class ResultStore:
    """A file of JSON lines, each a key and its measurement.

    A last line cut off by an interruption is skipped.

    Args:
        file: The file, created with its directory when something is added; None keeps results in
            memory only.
    """

    def __init__(self, file: Path | None = None) -> None:
        self.file = file
        self._values: dict[str, Any] = {}
        lines = [] if file is None or not file.exists() else file.read_bytes().split(b"\n")
        for line in lines[:-1]:  # the last piece is empty or an unfinished line
            try:
                entry = json.loads(line)
                self._values[_text(entry["key"])] = entry["value"]
            except (ValueError, TypeError, KeyError):  # torn or damaged
                continue

    def __contains__(self, key: Mapping[str, Any]) -> bool:
        return _text(key) in self._values

    def __getitem__(self, key: Mapping[str, Any]) -> Any:
        return self._values[_text(key)]

    def add(self, key: Mapping[str, Any], value: Any) -> None:
        """Keep a measurement, on disk as well."""
        self._append({"key": key, "value": value})
        self._values[_text(key)] = value

    def get(
        self,
        key: Mapping[str, Any],
        measure: Callable[[], Any],
        is_lasting: Callable[[Any], bool] = lambda value: True,
    ) -> Any:
        """Return the measurement stored under a key, or measure it now.

        Args:
            key: Everything the result depends on, ready for JSON.
            measure: Measures it; returns a value ready for JSON.
            is_lasting: Whether to keep it on disk; otherwise only this process remembers it.
        """
        if key not in self:
            value = measure()
            if is_lasting(value):
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
