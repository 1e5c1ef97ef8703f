"""Output of `vidtldr tune`: tables and the page."""

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.text import Text

from vidtldr.cli.terminal import SPEED_MARK_NOTE, counted, layer_span
from vidtldr.cli.tune.tables import Shown, frontier_table, score_table
from vidtldr.measure.environment import environment_facts
from vidtldr.tune.result import TimedPoint, TuneResult
from vidtldr.visualize.bench_page import PAGE_WIDTH, BenchPage, as_sentence, page_table

__all__ = [
    "print_tuning",
    "tuning_doubts",
    "tuning_headline",
    "tuning_note",
    "tuning_page",
]


def print_tuning(console: Console, result: TuneResult, kept_name: str | None) -> None:
    """Print the best result of each score, then what was timed with the baselines.

    Args:
        console: Where to print; wider ones get more columns.
        result: Result of a search.
        kept_name: Name of the share of clips that keep their answer; None without one.
    """
    console.print(Text(tuning_headline(result), style="bold"))
    shown = Shown(kept_name, console.width)
    console.print(score_table(result, shown))
    console.print(frontier_table(result, shown))
    console.print(Text(tuning_note(result, shown), style="dim"))


def tuning_headline(result: TuneResult) -> str:
    """Return a line about the clips, the unmerged model and the target."""
    low, high = result.unmerged.spread_ms
    times = f"{result.unmerged.median_ms:.0f} ms ({low:.0f} to {high:.0f})"
    return f"{_clips(result)}; unmerged {times}; target {result.target}"


def tuning_note(result: TuneResult, shown: Shown) -> str:
    """Return the note below the tables."""
    were = "was" if result.num_held_out_clips == 1 else "were"
    errors = _errors(result, shown)
    is_spread_shown = shown.is_wide or len(result.unmerged.times_ms) == 1
    spread = "" if is_spread_shown else f" {_spread(result)}"
    chosen = "" if result.chosen is None else "> chosen, "
    return (
        f"{chosen}* on the frontier of drift and speed, {SPEED_MARK_NOTE}. drift: mean over the "
        f"{counted(result.num_held_out_clips, 'held-out clip')}, which {were} not run until all "
        f"was chosen; {errors}. searched: mean over the "
        f"{counted(result.num_search_clips, 'search clip')}, by which all was chosen. speed-up: "
        f"median of {counted(len(result.unmerged.times_ms), 'round')} in turn with the unmerged "
        f"model, one clip, on {_dates(result)}.{spread} Layers count from 0."
    )


def tuning_doubts(result: TuneResult) -> list[str]:
    """Return caveats: a target missed on other clips, no gain in time, a busy machine."""
    row = result.chosen or result.nearest
    gain = result.gain_of(row)
    name = "the schedule" if row is result.chosen else f"the nearest, {row.name}"
    doubts = [_missed(result, row)] if result.is_met_on_held_out is False else []
    doubts += [f"{name}: {gain.words}; {gain.why_none}"] if gain.why_none else []
    return doubts + [result.busy.warning] * result.busy.is_busy


def _dates(result: TuneResult) -> str:
    return " and ".join(sorted({row.timed_on for row in result.rows}))


def _missed(result: TuneResult, row: TimedPoint) -> str:
    return (
        f"the schedule misses {result.target} on the held-out clips: its drift is "
        f"{row.measured.mean:.2g} there and {row.drift:.2g} on the search clips. It is written all "
        "the same; set a lower target, or give more clips"
    )


def _clips(result: TuneResult) -> str:
    return (
        f"{counted(result.num_clips, 'clip')}, {result.num_search_clips} searched and "
        f"{result.num_held_out_clips} held out"
    )


def _errors(result: TuneResult, shown: Shown) -> str:
    """Say what ± is or, for tables without it, the largest standard error of the drifts."""
    found = [row.measured.standard_error for row in result.rows]
    known = [error for error in found if error is not None]
    if not known:
        return "one clip has no standard error"
    return "standard error ±" if shown.has_errors else f"standard errors up to {max(known):.4f}"


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
    shown = Shown(kept_name, PAGE_WIDTH)
    timed, scores = frontier_table(result, shown), score_table(result, shown)
    notes = [as_sentence(tuning_headline(result)), tuning_note(result, shown)]
    notes += [as_sentence(doubt) for doubt in tuning_doubts(result)]
    failed = len(report["failed"])
    clips = f"{_clips(result)}, {failed} more failed" if failed else _clips(result)
    return BenchPage(
        title="How this model merges best",
        lead="Scores of tokens, layers and amounts of merging were tried on videos that need no "
        "labels. Drift is how far an answer moves from the unmerged model's: 0 is none. It is "
        "measured on clips held out from the search. The best were timed in turn with the unmerged "
        "model, and so were the paper's setting, ToMe and random dropping for comparison.",
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
    figures = f"{row.speedup:.2f}x as fast with drift {row.measured.mean:.2g}"
    figures += f" and {row.flop_ratio:.0%} of the FLOPs"
    if result.chosen is None:
        return f"Nothing reaches {result.target}; the nearest, {row.name}, is {figures}."
    return f"Chosen: {row.name}, in layers {layer_span(row.layers)}. It is {figures}."
