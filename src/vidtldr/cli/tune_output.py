"""Tables of `vidtldr tune`."""

from rich.console import Console
from rich.table import Table
from rich.text import Text

from vidtldr.cli.plain_table import layer_span, plain_table
from vidtldr.tune.frontier import frontier
from vidtldr.tune.result import MARKERS, Point, TimedPoint, TuneResult

__all__ = ["frontier_table", "print_tuning", "score_table", "tuning_headline", "tuning_note"]

WIDE = 120  # columns from which spreads and counts fit beside the rest


def print_tuning(console: Console, result: TuneResult, kept_name: str | None) -> None:
    """Print what each score is worth, then the frontier with the markers.

    Args:
        console: Where to; wider ones get more columns.
        result: Of a search.
        kept_name: What the share of clips that keep their answer is called; None without one.
    """
    console.print(Text(tuning_headline(result), style="bold"))
    console.print(score_table(result, kept_name, console.width))
    console.print(frontier_table(result, kept_name, console.width))
    console.print(Text(tuning_note(result, console.width), style="dim"))


def tuning_headline(result: TuneResult) -> str:
    """The clips, the unmerged model and the target."""
    low, high = result.unmerged.spread_ms
    clips = f"{result.num_clips} clip{'s' * (result.num_clips != 1)}"
    times = f"{result.unmerged.median_ms:.0f} ms ({low:.0f} to {high:.0f})"
    return f"{clips}; unmerged {times}; target {result.target}"


def tuning_note(result: TuneResult, width: int) -> str:
    """What a reader of the tables must know; `width` as in `score_table`."""
    spread = "" if width >= WIDE else f" {_spread(result)}"
    chosen = "" if result.chosen is None else "> chosen, "
    return (
        f"{chosen}* on the frontier of drift and speed. drift: mean over the clips, on which "
        f"the settings were chosen, too. speed-up: median of {len(result.unmerged.times_ms)} "
        f"rounds in turn with the unmerged model, one clip, on {_dates(result)}.{spread} Layers "
        "count from 0."
    )


def score_table(result: TuneResult, kept_name: str | None, width: int) -> Table:
    """The best place of each score, and each marker nearest to the same FLOPs.

    Args:
        result: Of a search.
        kept_name: What the share of clips that keep their answer is called; None without one.
        width: Columns of the terminal; a wide one gets the worst clip, too.
    """
    is_wide = width >= WIDE
    ratio = result.scores[0].flop_ratio
    columns = ["layers", "FLOPs", *_drift_columns(kept_name, is_wide)]
    table = plain_table("score, in its best layers", columns, wraps_names=True)
    for point in result.scores:
        table.add_row(*_drift_cells(point, kept_name, is_wide))
    for marker in MARKERS:
        points = [point for point in result.points if point.kind == marker]
        if points:
            near = min(points, key=lambda point: abs(point.flop_ratio - ratio))
            table.add_row(*_drift_cells(near, kept_name, is_wide), style="dim")
    return table


def frontier_table(result: TuneResult, kept_name: str | None, width: int) -> Table:
    """What was timed, fastest first; arguments as in `score_table`."""
    is_wide = width >= WIDE
    timed = ["speed-up"] + ["lowest", "highest", "ms", "r"] * is_wide
    columns = ["layers", "FLOPs", *_drift_columns(kept_name, is_wide), *timed]
    table = plain_table("timed, fastest first", columns, wraps_names=True)
    ahead = frontier(result.rows, lambda row: (-row.speedup, row.drift))
    for row in result.rows:
        name, *cells = _drift_cells(row, kept_name, is_wide)
        sign = ">" if row is result.chosen else "*" if row in ahead else " "
        style = "bold" if row is result.chosen else "dim" if row.kind in MARKERS else ""
        table.add_row(f"{sign} {name}", *cells, *_time_cells(row, is_wide), style=style)
    return table


def _drift_columns(kept_name: str | None, is_wide: bool) -> list[str]:
    kept = [] if kept_name is None else [kept_name]
    return ["drift", *["worst"] * is_wide, *kept]


def _drift_cells(point: Point, kept_name: str | None, is_wide: bool) -> list[str]:
    outcome = point.outcome
    cells = [point.name, layer_span(point.layers), f"{point.flop_ratio:.2f}"]
    cells += [f"{outcome.mean:.4f}"] + [f"{outcome.highest:.4f}"] * is_wide
    if kept_name is not None and outcome.kept is not None:
        cells.append(f"{100 * outcome.kept:.0f} %")
    return cells


def _time_cells(row: TimedPoint, is_wide: bool) -> list[str]:
    cells = [f"{row.speedup:.2f}x"]
    if is_wide:
        cells += [f"{row.speedups['lowest']:.2f}x", f"{row.speedups['highest']:.2f}x"]
        cells += [f"{row.timing.median_ms:.0f}", ",".join(map(str, row.setting.to_dict()["r"]))]
    return cells


def _dates(result: TuneResult) -> str:
    return " and ".join(sorted({row.timed_on for row in result.rows}))


def _spread(result: TuneResult) -> str:
    widths = (row.speedups["highest"] - row.speedups["lowest"] for row in result.rows)
    return f"Its rounds differ by up to {max(widths):.2f}."
