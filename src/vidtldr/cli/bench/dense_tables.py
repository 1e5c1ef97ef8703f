"""The tables of `vidtldr bench dense`."""

from collections.abc import Iterator

from rich.console import Console
from rich.table import Table
from rich.text import Text

from vidtldr.baselines.schedules import Layers
from vidtldr.bench.dense_result import DenseResult, DenseRow, FigureMean
from vidtldr.cli.bench.tables import row_style
from vidtldr.cli.terminal import counted, layer_span, plain_table

__all__ = ["dense_headline", "dense_notes", "dense_table", "print_dense", "score_table"]

WIDTH_WITH_ERROR = 110  # columns needed for a standard error beside each figure
_SHORT = {"sharpness-per-head": "per head", "representation-shift": "shift"}  # for narrow terminals
#: Title of each figure, and the factor and format to show it with.
SHOWN = {
    "max_f_change": ("max F, change in points", 100, "+z.1f"),
    "auroc_change": ("AUROC, change in points", 100, "+z.1f"),
    "feature_distance": ("cosine distance", 1, "z.3f"),
    "map_change": ("map change", 1, "z.3f"),
    "agreement": ("agreement", 1, "z.3f"),
}


def print_dense(console: Console, result: DenseResult) -> None:
    """Print one table for each figure, with all budgets, then the token scores."""
    console.print(Text(dense_headline(result), style="bold"))
    for name in SHOWN:
        if any(name in row.figures for row in result.rows):
            console.print(dense_table(result, name, console.width))
    if result.scores:
        console.print(score_table(result, console.width))
    for line in dense_notes(result):
        console.print(Text(line, style="dim"))


def dense_headline(result: DenseResult) -> str:
    """Return a line about the pictures and the unmerged model."""
    figures = result.unmerged.figures
    size = f"{counted(len(result.pictures), 'picture')} of {result.side}x{result.side}"
    accuracy = [
        f"{word} {figures[name].mean:.3f}"
        for name, word in (("max_f", "max F"), ("auroc", "AUROC"))
        if name in figures
    ]
    masks = f"{counted(result.num_masks, 'mask')}: {', '.join(accuracy)}"
    return f"{size}, {result.gflops:.1f} GFLOPs unmerged, {masks if accuracy else 'no masks'}"


def dense_table(result: DenseResult, name: str, width: int) -> Table:
    """Build the table of a figure, one row per method and placement and one column per budget.

    Args:
        result: Result of `run_dense`.
        name: The figure, one of `SHOWN`.
        width: Columns of the terminal; standard errors are shown if it is wide.
    """
    title, factor, form = SHOWN[name]
    budgets = sorted({row.budget for row in result.rows}, reverse=True)
    table = plain_table(title, ["layers", *(f"{budget:g}" for budget in budgets)])
    lines: dict[tuple[str, Layers | None], dict[float, DenseRow]] = {}
    for row in result.rows:
        lines.setdefault((row.method, row.layers), {})[row.budget] = row
    for (method, layers), rows in lines.items():
        found = {budget: row.figures.get(name) for budget, row in rows.items()}
        cells = (_cell(found.get(budget), factor, form, width) for budget in budgets)
        table.add_row(method, layer_span(layers), *cells, style=row_style(method))
    return table


def score_table(result: DenseResult, width: int) -> Table:
    """Build the table of token scores, one row per layer; `width` as in `dense_table`."""
    scores = list(dict.fromkeys(row.score for row in result.scores))
    is_wide = width >= WIDTH_WITH_ERROR
    heads = scores if is_wide else [_SHORT.get(score, score) for score in scores]
    table = plain_table("AUROC", heads)
    for layer in sorted({row.layer for row in result.scores}):
        found = {row.score: row.auroc for row in result.scores if row.layer == layer}
        table.add_row(
            f"layer {layer}", *(_cell(found[score], 1, "z.2f", width) for score in scores)
        )
    return table


def dense_notes(result: DenseResult) -> Iterator[str]:
    """Yield the notes below the tables."""
    yield "Columns: FLOP ratio of the backbone. Layers count from 0."
    yield "Cosine distance: mean distance of patch features from the unmerged model's."
    yield "Map change: mean absolute change of the saliency map, whose values are 0 to 1."
    yield (
        "Agreement: F of the map against the unmerged map, both thresholded at 0.5; 1 for equal "
        "maps. It does not measure accuracy."
    )
    if any(row.unreachable for row in result.rows):
        yield "-: these layers cannot reach the budget"
    if result.scores:
        is_masks = result.scores_against == "masks"
        truth = "the masks" if is_masks else "the unmerged map thresholded at 0.5"
        yield f"AUROC of each token score of the unmerged model against {truth}; 0.50 is chance."


def _cell(figure: FigureMean | None, factor: int, form: str, width: int) -> str:
    if figure is None:
        return "-"
    mean = f"{factor * figure.mean:{form}}"
    if width < WIDTH_WITH_ERROR or figure.standard_error is None:
        return mean
    return f"{mean} ±{factor * figure.standard_error:{form.removeprefix('+')}}"
