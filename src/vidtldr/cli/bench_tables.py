"""Tables of `vidtldr bench quality` and `bench saliency`."""

from collections.abc import Iterable

from rich.console import Console
from rich.table import Table
from rich.text import Text

from vidtldr.bench.quality import QualityResult, Row, Spread
from vidtldr.bench.quality_methods import PAPER, PRESET, Layers
from vidtldr.bench.saliency_quality import SaliencyResult, SaliencyRow
from vidtldr.cli.plain_table import layer_span, plain_table

__all__ = [
    "FIGURES",
    "budget_table",
    "print_quality",
    "print_saliency",
    "quality_headline",
    "quality_notes",
    "recall_table",
    "saliency_headline",
    "saliency_note",
    "saliency_table",
    "shown_budget",
]

SHOWN = ("text_to_video_r1", "video_to_text_r1", "answering", "labels")
LETTERS = ("t>v", "v>t", "answ.", "labels")
WORDS = ("text to video", "video to text", "answers", "labels")
WIDTH_WITH_SPREAD = 110  # columns from which a standard deviation fits beside each figure
WIDTH_WITH_WORDS = 150  # columns from which heads are words, and every figure has its deviation
TARGET_BUDGET = 0.6
FIGURES = {"auroc": "AUROC", "precision": "precision", "precision_negated": "precision of minus it"}


def print_quality(console: Console, result: QualityResult) -> None:
    """Print recall at every budget, then every figure at the budget nearest 0.6."""
    console.print(Text(quality_headline(result), style="bold"))
    console.print(recall_table(result, console.width))
    console.print(budget_table(result, console.width))
    for line in quality_notes(result, console.width):
        console.print(Text(line, style="dim"))


def print_saliency(console: Console, weights: str, result: SaliencyResult) -> None:
    """Print each figure of each score, a column a layer."""
    console.print(Text(f"{weights}: {saliency_headline(result)}", style="bold"))
    for field in FIGURES:
        console.print(saliency_table(result, field, console.width))
    console.print(Text(saliency_note(result), style="dim"))


def saliency_headline(result: SaliencyResult) -> str:
    """What was scored."""
    share = 100 * result.foreground.mean
    return f"{result.num_scored} clips, {share:.1f} % of the tokens are foreground"


def saliency_table(result: SaliencyResult, field: str, width: int) -> Table:
    """One of `FIGURES`, a line a score and a column a layer.

    Args:
        result: Of `run_saliency`.
        field: Its name in a row.
        width: Columns of the terminal; a wide one gets standard deviations.
    """
    layers = sorted({row.layer for row in result.rows})
    table = plain_table(FIGURES[field], [f"layer {layer}" for layer in layers])
    for score, rows in _by_score(result.rows).items():
        figures = (getattr(row, field) for row in rows)
        with_spread = width >= WIDTH_WITH_SPREAD
        table.add_row(score, *(_figure(each, 2, with_spread) for each in figures))
    return table


def saliency_note(result: SaliencyResult) -> str:
    """What chance would give."""
    chance = f"{result.foreground.mean:.2f}"
    note = f"By chance AUROC is 0.50, precision {chance}; AUROC of minus a score is 1 minus it."
    return f"{note} Layers count from 0."


def quality_headline(result: QualityResult) -> str:
    """The unmerged model and the clips."""
    row, options = result.unmerged, result.options
    parts = [f"unmerged: {result.num_tokens} tokens, {result.gflops:.2f} GFLOPs"]
    if row.timing is not None:
        parts.append(f"{row.timing['clips_per_second']:.1f} clips/s")
    if row.measures is not None:
        parts += [
            f"{name} {row.measures[key].mean:.1f}"
            for name, key in (("R@1", "r1"), ("answers", "answering"), ("labels", "labels"))
        ]
    seeds = f"{len(options.seeds)} seeds of {options.num_clips} {options.split} clips"
    return f"{', '.join(parts)}; {seeds}"


def recall_table(result: QualityResult, width: int) -> Table:
    """Recall at 1, a line a method and a column a budget.

    Args:
        result: Of `run_quality`.
        width: Columns of the terminal; a wide one gets standard deviations.
    """
    with_spread = width >= WIDTH_WITH_SPREAD
    budgets = sorted({row.budget for row in result.rows}, reverse=True)
    table = plain_table("R@1 at FLOP ratio", ["layers", *(f"{budget:g}" for budget in budgets)])
    lines: dict[tuple[str, Layers | None], dict[float, Row]] = {}
    for row in result.rows:
        lines.setdefault((row.method, row.layers), {})[row.budget] = row
    for (method, layers), rows in lines.items():
        cells = (_measure(rows.get(budget), "r1", with_spread) for budget in budgets)
        table.add_row(method, layer_span(layers), *cells, style=_style(method))
    return table


def shown_budget(result: QualityResult) -> float:
    """The budget nearest 0.6."""
    return min({row.budget for row in result.rows}, key=lambda each: abs(each - TARGET_BUDGET))


def budget_table(result: QualityResult, width: int) -> Table:
    """Every figure at the budget nearest 0.6; `width` as in `recall_table`."""
    budget, is_wide = shown_budget(result), width >= WIDTH_WITH_WORDS
    heads = WORDS if is_wide else LETTERS
    columns = ["layers", "FLOPs", *heads, "cosine", "speed"]
    table = plain_table(f"at FLOP ratio {budget:g}", columns)
    for row in (result.unmerged, *(row for row in result.rows if row.budget == budget)):
        if row.measures is None or row.flop_ratio is None:
            continue
        table.add_row(
            row.method,
            layer_span(row.layers),
            f"{row.flop_ratio:.2f}",
            *(_measure(row, name, is_wide) for name in SHOWN),
            f"{row.measures['cosine'].mean:.3f}",
            "-" if row.timing is None else f"{row.timing['speedup']:.2f}x",
            style=_style(row.method),
        )
    return table


def quality_notes(result: QualityResult, width: int) -> Iterable[str]:
    """What a reader of the tables must know; `width` as in `recall_table`."""
    for method in ("fewer frames", "lower resolution"):
        rows = [row for row in result.rows if row.method == method and row.flop_ratio is not None]
        if rows:
            ratios = " ".join(f"{row.flop_ratio:.2f}" for row in rows)
            yield f"{method} can only cost these FLOP ratios: {ratios}"
    if any(row.unreachable for row in result.rows):
        yield "-: so few FLOPs cannot be reached from these layers"
    deviations = [row.measures["r1"].std for row in result.rows if row.measures is not None]
    letters = "" if width >= WIDTH_WITH_WORDS else "t>v, v>t: text to video and back. "
    yield (
        f"standard deviation of R@1 over seeds: at most {max(deviations):.1f} points. {letters}"
        "speed: clips a second of the vision encoder over the unmerged "
        "one's. Layers count from 0; the paper merges from 0 on."
    )


def _measure(row: Row | None, name: str, with_spread: bool) -> str:
    if row is None or row.measures is None:
        return "-"
    return _figure(row.measures[name], 1, with_spread)


def _figure(figure: Spread, decimals: int, with_spread: bool) -> str:
    mean = f"{figure.mean:.{decimals}f}"
    return f"{mean} ±{figure.std:.{decimals}f}" if with_spread else mean


def _style(method: str) -> str:
    return "bold" if method in (PAPER, PRESET) else ""


def _by_score(rows: Iterable[SaliencyRow]) -> dict[str, list[SaliencyRow]]:
    found: dict[str, list[SaliencyRow]] = {}
    for row in sorted(rows, key=lambda row: row.layer):
        found.setdefault(row.score, []).append(row)
    return found
