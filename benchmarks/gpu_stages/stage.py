"""What a stage is, and how its result is written to its file."""

import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from gpu_stages.sizes import Sizes

__all__ = ["Stage", "Work", "read_report", "report_path", "write_report"]


@dataclass(frozen=True)
class Work:
    """The input of a stage.

    Attributes:
        device: The device that everything runs on.
        sizes: Sizes of everything.
        until: When the stage should end, seconds since the epoch.
        keep: Writes the stage's partial result to its file.
    """

    device: torch.device
    sizes: Sizes
    until: float
    keep: Callable[[dict[str, Any]], None]

    @property
    def seconds_left(self) -> float:
        """Return the seconds until the stage should end."""
        return self.until - time.time()


@dataclass(frozen=True)
class Stage:
    """One thing to measure.

    Attributes:
        name: Also the name of its file.
        run: Measures and returns the result, ready for JSON.
        needs_seconds: It is skipped if less time is left.
        limit_seconds: Time after which it should end by itself; a stage that cannot just runs to
            its end.
    """

    name: str
    run: Callable[[Work], dict[str, Any]]
    needs_seconds: float = 10
    limit_seconds: float = 60


def report_path(folder: Path, name: str) -> Path:
    """Return the path of a stage's file."""
    return folder / f"{name}.json"


def write_report(folder: Path, name: str, report: dict[str, Any]) -> None:
    """Write a stage's file atomically: a reader sees either the new or the old version."""
    path = report_path(folder, name)
    unfinished = path.with_suffix(".part")
    unfinished.write_text(json.dumps(report, indent=1, default=str) + "\n")
    os.replace(unfinished, path)


def read_report(folder: Path, name: str) -> dict[str, Any] | None:
    """Read a stage's file; None if it has not begun."""
    path = report_path(folder, name)
    if not path.exists():
        return None
    report: dict[str, Any] = json.loads(path.read_text())
    return report
