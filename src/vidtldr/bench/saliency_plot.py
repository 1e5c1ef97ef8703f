"""Plot the saliency benchmark: which score finds the foreground, layer by layer."""

from collections.abc import Mapping, Sequence
from functools import partial
from textwrap import fill
from typing import Any

from vidtldr.bench.saliency_quality import SaliencyResult, SaliencyRow
from vidtldr.bench.saliency_scores import SCORES
from vidtldr.visualize.plot import WIDE_INCHES, Plot

__all__ = ["saliency_plot"]

PANEL_INCHES = 3.6
# Okabe and Ito's colour-blind-safe colours; markers tell the lines apart in print.
COLOURS = ("#d55e00", "#e69f00", "#0072b2", "#009e73", "#cc79a7")
LETTERS = {True: 76, False: 38}  # of a line that fits
MARKERS = "os^Dv"


def saliency_plot(results: Mapping[str, SaliencyResult]) -> Plot:
    """Plot the AUROC of every score in every layer, a panel for each weights file.

    Args:
        results: Results of `run_saliency`, by a label for the weights, any text.
    """
    text = (
        "AUROC is the chance that a token of the foreground scores higher than one of the "
        "background: 1 finds it always, 0.5 is chance, 0 finds the background. Bars are one "
        "standard deviation over seeds."
    )
    title = "Which score finds the foreground, layer by layer"
    return Plot(partial(_draw, results), title, text, font_size=11)


def _draw(results: Mapping[str, SaliencyResult], width_inches: float) -> Any:
    from matplotlib.figure import Figure

    is_wide = width_inches >= WIDE_INCHES
    size = (width_inches, PANEL_INCHES * len(results) + (0.7 if is_wide else 1.1))
    figure = Figure(figsize=size, layout="constrained")
    panels = figure.subplots(len(results), 1, squeeze=False)[:, 0]
    for (name, result), panel in zip(results.items(), panels, strict=True):
        _draw_panel(panel, result.rows)
        # A dollar in a name is a literal dollar, not mathtext.
        panel.set_title(fill(name, LETTERS[is_wide]), loc="left", parse_math=False)
    handles, names = panels[0].get_legend_handles_labels()
    figure.legend(
        handles,
        names,
        loc="outside lower center",
        ncols=3 if is_wide else 2,
        columnspacing=1,
        handlelength=1.5,
        frameon=False,
    )
    return figure


def _draw_panel(panel: Any, rows: Sequence[SaliencyRow]) -> None:
    for score, colour, marker in zip(SCORES, COLOURS, MARKERS, strict=True):
        found = sorted((row for row in rows if row.score == score), key=lambda row: row.layer)
        layers = [row.layer for row in found]
        means = [row.auroc.mean for row in found]
        stds = [row.auroc.std for row in found]
        panel.errorbar(
            layers, means, stds, color=colour, marker=marker, markersize=5, capsize=3, label=score
        )
    panel.axhline(0.5, color="black", linewidth=0.8, linestyle=":", label="chance")
    panel.set_ylim(0, 1.02)
    panel.set_xticks(sorted({row.layer for row in rows}))
    panel.set_xlabel("layer, from 0")
    panel.set_ylabel("AUROC")
    panel.spines[["top", "right"]].set_visible(False)
    panel.grid(alpha=0.25, linewidth=0.5)
