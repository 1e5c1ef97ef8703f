"""The tables of `vidtldr bench quality`."""

from collections.abc import Iterable

from rich.console import Console
from rich.table import Table
from rich.text import Text

from vidtldr.baselines.schedules import Layers
from vidtldr.bench.marks import COMPARED, MARKS_NOTE, marked_change, marks_of
from vidtldr.bench.quality_result import QualityResult, Row
from vidtldr.cli.bench.tables import row_style
from vidtldr.cli.terminal import (
    SPEED_MARK_NOTE,
    counted,
    duration,
    layer_span,
    plain_table,
    speed_mark,
)
from vidtldr.measure.busyness import busiest

__all__ = [
    "budget_table",
    "change_table",
    "print_quality",
    "quality_headline",
    "quality_notes",
    "shown_budget",
]

SHOWN = ("text_to_video_r1", "video_to_text_r1", "hard_answers", "labels", "hard_labels")
LETTERS = ("t>v", "v>t", "answ.", "labels", "descr.")
WORDS = ("text to video", "video to text", "hard answers", "labels", "hard labels")
WIDTH_WITH_ERRORS = 110  # columns needed for standard errors
WIDTH_WITH_WORDS = 150  # columns needed for headings in words and for all answers
TARGET_BUDGET = 0.6


def print_quality(console: Console, result: QualityResult) -> None:
    """Print the change of R@1 at every budget, then every figure at the budget nearest 0.6."""
    console.print(Text(quality_headline(result), style="bold"))
    console.print(change_table(result, "r1", console.width))
    console.print(budget_table(result, console.width))
    for line in quality_notes(result, console.width):
        console.print(Text(line, style="dim"))


def quality_headline(result: QualityResult) -> str:
    """Return a line about the unmerged model and the clips."""
    row, options = result.unmerged, result.options
    parts = [f"unmerged: {result.num_tokens} tokens, {result.gflops:.2f} GFLOPs"]
    if row.timing is not None:
        parts.append(f"{row.timing['clips_per_second']:.1f} clips/s")
    names = {**COMPARED, "labels": "labels", "answering": "all answers"}
    parts += [
        f"{name} {row.measures[key].mean:.1f}"
        for key, name in names.items()
        if row.measures is not None and key in row.measures
    ]
    clips = counted(options.num_clips, f"{options.split} clip")
    seeds = f"{counted(len(options.seeds), 'seed')} of {clips}"
    return f"{', '.join(parts)}; {seeds}"


def change_table(result: QualityResult, figure: str, width: int) -> Table:
    """Build the table of a figure's change, one row per method and one column per budget.

    Args:
        result: Result of `run_quality`.
        figure: One of `COMPARED`.
        width: Columns of the terminal; standard errors are shown if it is wide.
    """
    budgets = sorted({row.budget for row in result.rows}, reverse=True)
    columns = ["layers", *(f"{budget:g}" for budget in budgets)]
    table = plain_table(f"{COMPARED[figure]} at", columns)
    lines: dict[tuple[str, Layers | None], dict[float, Row]] = {}
    for row in result.rows:
        lines.setdefault((row.method, row.layers), {})[row.budget] = row
    with_error = width >= WIDTH_WITH_ERRORS
    for (method, layers), rows in lines.items():
        cells = (_change(rows.get(budget), figure, with_error) for budget in budgets)
        table.add_row(method, layer_span(layers), *cells, style=row_style(method))
    return table


def shown_budget(result: QualityResult) -> float:
    """Return the budget nearest 0.6."""
    return min({row.budget for row in result.rows}, key=lambda each: abs(each - TARGET_BUDGET))


def budget_table(result: QualityResult, width: int) -> Table:
    """Build the table of every figure at the budget nearest 0.6; `width` as in `change_table`."""
    budget = shown_budget(result)
    is_wide, is_timed = width >= WIDTH_WITH_ERRORS, result.unmerged.timing is not None
    measures = result.unmerged.measures or {}
    figures = dict(zip(SHOWN, WORDS if width >= WIDTH_WITH_WORDS else LETTERS, strict=True))
    if width >= WIDTH_WITH_WORDS and "answering" in measures:
        figures["answering"] = "all answers"
    columns = ["layers", *["FLOPs"] * is_wide, *figures.values()]
    columns += ["cosine"] * is_wide + ["speed"] * is_timed
    table = plain_table(f"at FLOP ratio {budget:g}", columns)
    for row in (result.unmerged, *(row for row in result.rows if row.budget == budget)):
        if row.measures is None or row.flop_ratio is None:
            continue
        table.add_row(
            row.method,
            layer_span(row.layers),
            *[f"{row.flop_ratio:.2f}"] * is_wide,
            *(_level(row, name) for name in figures),
            *[f"{row.measures['cosine'].mean:.3f}"] * is_wide,
            *[_speed(row)] * is_timed,
            style=row_style(row.method),
        )
    return table


def quality_notes(result: QualityResult, width: int) -> Iterable[str]:
    """Yield the notes below the tables; `width` as in `change_table`."""
    yield MARKS_NOTE
    for method in ("fewer frames", "lower resolution"):
        rows = [row for row in result.rows if row.method == method and row.flop_ratio is not None]
        if rows:
            ratios = " ".join(f"{row.flop_ratio:.2f}" for row in rows)
            yield f"{method} can only cost these FLOP ratios: {ratios}"
    if any(row.unreachable for row in result.rows):
        yield "-: these layers cannot reach the budget"
    if width < WIDTH_WITH_WORDS:
        yield "t>v, v>t: text to video and back. answ.: hard answers. descr.: hard labels."
    yield (
        "hard answers: questions about motion and speed only. hard labels: the whole description "
        "of a clip of one object, out of 1,408. Layers count from 0; the paper merges from 0 on."
    )
    yield (
        f"measuring took {duration(result.seconds)} of processor time, interrupted runs included"
    )
    yield from _speed_notes(result)


def _speed(row: Row) -> str:
    if row.gain is None:
        return "-"
    mark = "" if row.budget == 1 else speed_mark(row.gain.change)  # the unmerged model needs none
    return f"{mark}{row.gain.median:.2f}x"


def _speed_notes(result: QualityResult) -> Iterable[str]:
    """Yield notes: unclear speed-ups, why the slowest method gains nothing, a busy machine."""
    here = [row for row in result.rows if row.budget == shown_budget(result)]
    gains = {row.method: row.gain for row in here if row.gain is not None}
    if gains:
        yield "speed: clips per second of the vision encoder, relative to the unmerged one"
    if any(gain.change == "unclear" for gain in gains.values()):
        yield SPEED_MARK_NOTE
    slow = {name: gain for name, gain in gains.items() if gain.change == "slower"}
    if slow:
        name = min(slow, key=lambda name: slow[name].median)
        if slow[name].why_none:
            yield f"{name}: {slow[name].words}; {slow[name].why_none}"
    busy = busiest(gain.busy for gain in gains.values())
    if busy.is_busy:
        yield busy.warning


def _change(row: Row | None, figure: str, with_error: bool) -> str:
    if row is None or row.change is None or figure not in row.change:
        return "-"
    return marked_change(row, figure, with_error=with_error)


def _level(row: Row, figure: str) -> str:
    if row.measures is None or figure not in row.measures:
        return "-"
    return f"{row.measures[figure].mean:.1f}{marks_of(row, figure)}"
