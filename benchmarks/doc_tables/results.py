"""Read the benchmarks' JSON files, and format what several tables share."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benchmarks" / "results"
Report = dict[str, Any]


def read(name: str) -> Report:
    """Read one result by its file name, without `.json`."""
    report: Report = json.loads((RESULTS / f"{name}.json").read_text())
    return report


def table(head: list[str], rows: list[list[str]]) -> str:
    """Format a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def made_by(report: Report) -> str:
    """State the machine, versions, date and command of a result."""
    made = report["environment"]
    date = f", {made['date']}" if "date" in made else ""
    device = made.get("device") or made["cpu"]
    plural = "s" * (made["num_threads"] != 1)
    return (
        f"Measured on {device}, {made['num_threads']} thread{plural}, torch "
        f"{made['versions']['torch']}{date}: `{made['command']}`."
    )


def ratio_with_range(ratio: dict[str, float]) -> str:
    """Format a median ratio and the range of its rounds."""
    return f"{ratio['median']:.2f}x ({ratio['lowest']:.2f} to {ratio['highest']:.2f})"


def mean_with_std(spread: dict[str, Any], decimals: int = 1) -> str:
    """Format mean and standard deviation over seeds."""
    return f"{spread['mean']:.{decimals}f} ± {spread['std']:.{decimals}f}"


def listed(words: Iterable[str]) -> str:
    """Join words with commas and a final `and`; `none` if there are no words."""
    *first, last = [*words] or ["none"]
    return " and ".join(filter(None, (", ".join(first), last)))
