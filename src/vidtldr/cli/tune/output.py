"""Output of `vidtldr tune`: tables and the page."""

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from vidtldr.cli.terminal import SPEED_MARK_NOTE, counted, layer_span, plain_table, speed_mark
from vidtldr.measure.environment import environment_facts
from vidtldr.tune.frontier import frontier
from vidtldr.tune.result import MARKERS, Point, TimedPoint, TuneResult
from vidtldr.visualize.bench_page import PAGE_WIDTH, BenchPage, as_sentence, page_table

__all__ = [
    "frontier_table",
    "print_tuning",
    "score_table",
    "tuning_doubts",
    "tuning_headline",
    "tuning_note",
    "tuning_page",
]

WIDE = 120  # columns needed for spreads and counts beside the rest


def print_tuning(console: Console, result: TuneResult, kept_name: str | None) -> None:
    """Print the best result of each score, then the frontier with the baselines.

    Args:
        console: Where to print; wider ones get more columns.
        result: Result of a search.
        kept_name: Name of the share of clips that keep their answer; None without one.
    """
    console.print(Text(tuning_headline(result), style="bold"))
    console.print(score_table(result, kept_name, console.width))
    console.print(frontier_table(result, kept_name, console.width))
    console.print(Text(tuning_note(result, console.width), style="dim"))


def tuning_headline(result: TuneResult) -> str:
    """Return a line about the clips, the unmerged model and the target."""
    low, high = result.unmerged.spread_ms
    clips = counted(result.num_clips, "clip")
    times = f"{result.unmerged.median_ms:.0f} ms ({low:.0f} to {high:.0f})"
    return f"{clips}; unmerged {times}; target {result.target}"


def tuning_note(result: TuneResult, width: int) -> str:
    """Return a note that readers of the tables need; `width` as in `score_table`."""
    spread = "" if width >= WIDE else f" {_spread(result)}"
    chosen = "" if result.chosen is None else "> chosen, "
    return (
        f"{chosen}* on the frontier of drift and speed, {SPEED_MARK_NOTE}. drift: mean over the "
        "clips, on which the settings were chosen, too. speed-up: median of "
        f"{len(result.unmerged.times_ms)} rounds in turn with the unmerged model, one clip, on "
        f"{_dates(result)}.{spread} Layers count from 0."
    )


def tuning_doubts(result: TuneResult) -> list[str]:
    """Return caveats: why the schedule gains nothing, and that the machine was busy."""
    row = result.chosen or result.nearest
    gain = result.gain_of(row)
    name = "the schedule" if row is result.chosen else f"the nearest, {row.name}"
    doubts = [f"{name}: {gain.words}; {gain.why_none}"] if gain.why_none else []
    return doubts + [result.busy.warning] * result.busy.is_busy


def score_table(result: TuneResult, kept_name: str | None, width: int) -> Table:
    """Build the table of each score's best placement and each baseline nearest in FLOPs.

    Args:
        result: Result of a search.
        kept_name: Name of the share of clips that keep their answer; None without one.
        width: Columns of the terminal; a wide one also gets the worst clip.
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
    """Build the table of timed settings, fastest first; arguments as in `score_table`."""
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
    cells = [f"{speed_mark(row.change)}{row.speedup:.2f}x"]
    if is_wide:
        cells += [f"{row.speedups['lowest']:.2f}x", f"{row.speedups['highest']:.2f}x"]
        cells += [f"{row.timing.median_ms:.0f}", ",".join(map(str, row.setting.to_dict()["r"]))]
    return cells


def _dates(result: TuneResult) -> str:
    return " and ".join(sorted({row.timed_on for row in result.rows}))


def _spread(result: TuneResult) -> str:
    widths = (row.speedups["highest"] - row.speedups["lowest"] for row in result.rows)
    return f"Its rounds differ by up to {max(widths):.2f}."


def tuning_page(report: Mapping[str, Any], result: TuneResult, kept_name: str | None) -> BenchPage:
    """Build the page of what was tried and what was chosen.

    Args:
        report: Holds the environment and the videos that failed.
        result: Result of a search.
        kept_name: Name of the share of clips that keep their answer; None without one.
    """
    timed = frontier_table(result, kept_name, PAGE_WIDTH)
    scores = score_table(result, kept_name, PAGE_WIDTH)
    notes = [as_sentence(tuning_headline(result)), tuning_note(result, PAGE_WIDTH)]
    notes += [as_sentence(doubt) for doubt in tuning_doubts(result)]
    failed = len(report["failed"])
    clips = f"{result.num_clips}, {failed} more failed" if failed else str(result.num_clips)
    return BenchPage(
        title="How this model merges best",
        lead="Scores of tokens, layers and amounts of merging were tried on videos that need no "
        "labels. Drift is how far an answer moves from the unmerged model's: 0 is none. The best "
        "were timed in turn with the unmerged model; the paper's setting, ToMe and random "
        "dropping stand beside them.",
        verdict=_verdict(result),
        command=report["environment"]["command"],
        facts=[
            ("videos", clips),
            ("target", str(result.target)),
            *environment_facts(report["environment"]),
        ],
        tables=[
            page_table(timed, "What was timed, fastest first", "setting", notes),
            page_table(scores, "Each score in its best layers, at one budget", "score"),
        ],
    )


def _verdict(result: TuneResult) -> str:
    row = result.nearest if result.chosen is None else result.chosen
    figures = f"{row.speedup:.2f}x as fast with drift {row.drift:.2g}"
    figures += f" and {row.flop_ratio:.0%} of the FLOPs"
    if result.chosen is None:
        return f"Nothing reaches {result.target}; the nearest, {row.name}, is {figures}."
    return f"Chosen: {row.name}, in layers {layer_span(row.layers)}. It is {figures}."
