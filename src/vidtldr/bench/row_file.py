"""A JSON file of rows, valid after every row, so that a stopped run keeps its results."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vidtldr.bench.row import Row
from vidtldr.files import write_json

__all__ = ["RowFile"]

# All rows of one file must agree in these to share a table.
_SAME = ("device", "cpu_capability", "num_threads", "tiny")
_OF_EACH_ROW = ("commit", "date", "command")


class RowFile:
    """Rows of one machine. Rows already in the file stay until they are measured again.

    Args:
        path: The JSON file, created with its folder when the first row is added.
        processor: Name of the machine's processor.
        environment: From `environment`, and whether sizes are `tiny`.

    Raises:
        ValueError: If the file exists and is from another machine or setting.
    """

    def __init__(self, path: Path, processor: str, environment: Mapping[str, Any]) -> None:
        self.path = path
        self.processor = processor
        self.environment = dict(environment)
        self._rows: dict[str, dict[str, Any]] = {}
        if path.exists():
            self._keep(json.loads(path.read_text()))

    def add(self, group: str, row: Row) -> None:
        """Write the file with this row, replacing a row of the same name.

        Args:
            group: Its name for `--rows`.
            row: The measured row.
        """
        made = {name: self.environment.get(name) for name in _OF_EACH_ROW}
        self._rows[row.name] = row.to_dict() | {"group": group, "made": made}
        self._write()

    def _keep(self, report: Mapping[str, Any]) -> None:
        for name in _SAME:
            found, own = report["environment"].get(name), self.environment.get(name)
            if found != own:
                raise ValueError(
                    f"output must be new or of the same {name}, got {str(self.path)!r}, where it "
                    f"is {found!r} and not {own!r}. Choose another file, or delete this one."
                )
        self._rows = {row["name"]: row for row in report["rows"]}

    def _write(self) -> None:
        report = {
            "processor": self.processor,
            "environment": self.environment,
            "rows": list(self._rows.values()),
        }
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_json(self.path, report, indent=1)
