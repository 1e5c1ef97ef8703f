"""Tables of rows over all machines that measured them: ranges, not the best machine.

A report is a file written by `RowFile`, one per machine.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from vidtldr.bench.busy_rows import BUSY_ROWS
from vidtldr.bench.never_slower.rows import ROWS
from vidtldr.bench.row import middle

__all__ = ["busy_tables", "never_slower_tables"]

Report = Mapping[str, Any]
_Cell = Callable[[Sequence[Mapping[str, Any]]], str]
_FIGURES = {
    "gain": "gain",
    "speedup_over_flop_reduction": "of the FLOP reduction",
    "gain_over_flat": "of the flat gain",
    "kept_share": "kept",
    "time_over_sdpa": "time",
}
_LAYERS = ("unmerged_layer", "merging_layer", "layer_behind")
_PARTS = ("of_that_attention", "of_that_merge", "of_that_mlp")


def never_slower_tables(folder: Path) -> str:
    """Return the tables of models, attention and operators, with the machines below.

    Args:
        folder: Its JSON files are the reports, one per machine.

    Raises:
        ValueError: If a report was made with test sizes.
    """
    reports, groups = _reports(folder), list(ROWS)
    command = "python benchmarks/never_slower.py"
    columns: dict[str, _Cell] = {
        "FLOP reduction": _figure("flop_reduction", "x"),
        "gain": _figure("gain", "x"),
        "of the FLOP reduction": _figure("speedup_over_flop_reduction"),
    }
    over_sdpa: dict[str, _Cell] = {"time over SDPA": _figure("time_over_sdpa", "x")}
    operators: dict[str, _Cell] = {
        "unmerged": _figure(_LAYERS[0]),
        "merging": _figure(_LAYERS[1]),
        "of these attention, merging, MLP": lambda rows: ", ".join(
            _figure(part)(rows) for part in _PARTS
        ),
        "behind": _figure(_LAYERS[2]),
    }
    tables = [
        _table("merged over unmerged", "gain", columns | _ASKED, reports, groups),
        _table("one layer", "time_over_sdpa", over_sdpa | _ASKED, reports, groups),
        _table("operators a layer calls", _LAYERS[0], operators, reports, groups),
    ]
    return _with_machines(tables, reports, command)


def busy_tables(folder: Path) -> str:
    """Return the table of gains when quiet and when busy, with the machines below.

    Args:
        folder: As for `never_slower_tables`.

    Raises:
        ValueError: If a report was made with test sizes.
    """
    reports, groups = _reports(folder), list(BUSY_ROWS)
    columns: dict[str, _Cell] = {
        "FLOP reduction": _figure("flop_reduction", "x"),
        "quiet": _figure("quiet_gain", "x"),
        "busy": _figure("busy_gain", "x"),
        "kept": _figure("kept_share"),
    }
    table = _table("merged over unmerged", "kept_share", columns | _ASKED, reports, groups)
    return _with_machines([table], reports, "python benchmarks/busy.py")


def _reports(folder: Path) -> list[Report]:
    """Read the reports of a folder, by file name."""
    reports = [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]
    for report in reports:
        if report["environment"].get("tiny"):
            raise ValueError(
                f"reports in {folder.name} must be of full sizes, got one of "
                f"{report['processor']!r} by --tiny. Delete it."
            )
    return reports


def _with_machines(tables: Sequence[str], reports: Sequence[Report], command: str) -> str:
    if not reports:
        return f"Not measured yet: `{command}`."
    if len(reports) == 1:
        said = f"Measured on one machine so far, by `{command}`:"
        said += " medians, and in brackets the range of the rounds."
    else:
        said = f"Measured on {len(reports)} machines, by `{command}`:"
        said += " from the lowest of their medians to the highest."
    return "\n".join([*filter(None, tables), said, "", *map(_machine, reports)])


def _machine(report: Report) -> str:
    made = report["environment"]
    dates = sorted({row["made"]["date"] for row in report["rows"]})
    when = dates[0] if len(dates) == 1 else f"{dates[0]} to {dates[-1]}"
    return (
        f"- {made['device']} (`{report['processor']}`), {made['num_threads']} threads, torch "
        f"{made['versions']['torch']}, {when}"
    )


def _table(
    title: str,
    figure: str,
    columns: Mapping[str, _Cell],
    reports: Sequence[Report],
    groups: Sequence[str],
) -> str:
    """Make a table line for each workload with a figure; empty if none has one."""
    lines = []
    for rows in _by_name(reports, groups):
        if figure in rows[0]["figures"]:
            measured = "" if len(rows) == len(reports) else f" ({len(rows)} of {len(reports)})"
            cells = [rows[0]["workload"] + measured, *(cell(rows) for cell in columns.values())]
            lines.append(f"| {' | '.join(cells)} |")
    head = f"| {' | '.join([title, *columns])} |", "|---" * (1 + len(columns)) + "|"
    return "\n".join([*head, *lines, ""]) if lines else ""


def _by_name(reports: Sequence[Report], groups: Sequence[str]) -> list[list[Mapping[str, Any]]]:
    """Collect rows of the same name from all machines, in the order of their groups."""
    found: dict[str, list[Mapping[str, Any]]] = {}
    for report in reports:
        for row in report["rows"]:
            found.setdefault(row["name"], []).append(row)
    known = [rows for rows in found.values() if rows[0]["group"] in groups]
    return sorted(known, key=lambda rows: groups.index(rows[0]["group"]))


def _figure(name: str, unit: str = "") -> _Cell:
    """Format a cell: the range over machines, or over rounds if there is one machine."""

    def cell(rows: Sequence[Mapping[str, Any]]) -> str:
        values = [row["figures"][name] for row in rows]
        if len(values) == 1 and isinstance(values[0], dict):
            low, high = (_number(values[0][end]) for end in ("lowest", "highest"))
            return f"{_number(middle(values[0]))}{unit} ({low} to {high})"
        ends = [_number(end(map(middle, values))) for end in (min, max)]
        return " to ".join(f"{number}{unit}" for number in dict.fromkeys(ends))

    return cell


def _number(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:.2f}"


def _asked(rows: Sequence[Mapping[str, Any]]) -> str:
    said = [_target(row["target"]) for row in rows if row["target"] is not None]
    return " or ".join(dict.fromkeys(said)) or "-"


def _target(target: Mapping[str, Any]) -> str:
    figure = _FIGURES[target["figure"]]
    bounds = {"at least": target["at_least"], "at most": target["at_most"]}
    said = [f"{word} {bound:g}" for word, bound in bounds.items() if bound is not None]
    return f"{figure} {' and '.join(said)}"


def _met(rows: Sequence[Mapping[str, Any]]) -> str:
    met = [row["is_met"] for row in rows if row["is_met"] is not None]
    if not met:
        return "-"
    if len(set(met)) == 1:
        return "yes" if met[0] else "no"
    return f"on {sum(met)} of {len(met)}"


_ASKED: dict[str, _Cell] = {"asked": _asked, "met": _met}
