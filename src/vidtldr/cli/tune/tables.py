"""The tables of `vidtldr tune`, as wide as the terminal."""

from dataclasses import dataclass

from rich.table import Table

from vidtldr.cli.terminal import layer_span, plain_table, speed_mark
from vidtldr.tune.frontier import frontier
from vidtldr.tune.result import MARKERS, Point, TimedPoint, TuneResult
from vidtldr.tune.trials import Outcome

__all__ = ["Shown", "frontier_table", "score_table"]


@dataclass(frozen=True)
class Shown:
    """Which columns a table has.

    Attributes:
        kept_name: Name of the share of clips that keep their answer; None without one.
        width: Columns of the terminal.
    """

    kept_name: str | None
    width: int

    @property
    def is_wide(self) -> bool:
        """Whether the worst clip, the range of rounds and the times are shown."""
        return self.width >= 130

    @property
    def has_errors(self) -> bool:
        """Whether standard errors are shown."""
        return self.is_wide or self.kept_name is None

    @property
    def has_counts(self) -> bool:
        """Whether the tokens removed in each layer are shown."""
        return self.width >= (140 if self.kept_name is None else 160)


def score_table(result: TuneResult, shown: Shown) -> Table:
    """Build the table of each score's best placement and each baseline nearest in FLOPs."""
    ratio = result.scores[0].flop_ratio
    columns = ["layers", "FLOPs", *_drift_columns(shown)]
    table = plain_table("score, in its best layers", columns, wraps_names=True)
    for point in result.scores:
        table.add_row(*_drift_cells(point, shown))
    for marker in MARKERS:
        points = [point for point in result.points if point.kind == marker]
        if points:
            near = min(points, key=lambda point: abs(point.flop_ratio - ratio))
            table.add_row(*_drift_cells(near, shown), style="dim")
    return table


def frontier_table(result: TuneResult, shown: Shown) -> Table:
    """Build the table of timed settings, fastest first."""
    timed = ["speed-up", *["lowest", "highest", "ms"] * shown.is_wide, *["r"] * shown.has_counts]
    columns = ["layers", "FLOPs", *_drift_columns(shown), *timed]
    table = plain_table("timed, fastest first", columns, wraps_names=True)
    ahead = frontier(result.rows, lambda row: (-row.speedup, row.measured.mean))
    for row in result.rows:
        name, *cells = _drift_cells(row, shown)
        sign = ">" if row is result.chosen else "*" if row in ahead else " "
        style = "bold" if row is result.chosen else "dim" if row.kind in MARKERS else ""
        table.add_row(f"{sign} {name}", *cells, *_time_cells(row, shown), style=style)
    return table


def _drift_columns(shown: Shown) -> list[str]:
    errors = ["±"] if shown.has_errors else []
    kept = [] if shown.kept_name is None else [shown.kept_name]
    return ["drift", *errors, *["worst"] * shown.is_wide, *kept, "searched"]


def _drift_cells(point: Point, shown: Shown) -> list[str]:
    found, error = point.measured, point.measured.standard_error
    cells = [point.name, layer_span(point.layers), f"{point.flop_ratio:.2f}", f"{found.mean:.4f}"]
    if shown.has_errors:
        cells.append("" if error is None else f"{error:.4f}")
    if shown.is_wide:
        cells.append(f"{found.highest:.4f}")
    if shown.kept_name is not None:
        cells.append(_kept(found))
    searched = f"{point.drift:.4f}"
    if shown.kept_name is not None and shown.is_wide:
        searched += f", {_kept(point.outcome)}"
    return [*cells, searched]


def _kept(outcome: Outcome) -> str:
    return "" if outcome.kept is None else f"{100 * outcome.kept:.0f} %"


def _time_cells(row: TimedPoint, shown: Shown) -> list[str]:
    cells = [f"{speed_mark(row.change)}{row.speedup:.2f}x"]
    if shown.is_wide:
        cells += [f"{row.speedups['lowest']:.2f}x", f"{row.speedups['highest']:.2f}x"]
        cells.append(f"{row.timing.median_ms:.0f}")
    if shown.has_counts:
        cells.append(",".join(map(str, row.setting.to_dict()["r"])))
    return cells
