"""Plot the quality benchmark: quality against FLOPs and against measured speed."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from textwrap import fill
from typing import Any

from vidtldr.baselines.schedules import PAPER, Layers
from vidtldr.bench.merging_methods import DEFAULT
from vidtldr.bench.quality_methods import ABLATIONS
from vidtldr.bench.quality_result import QualityResult, Row
from vidtldr.visualize.plot import METHOD_STYLES, WIDE_INCHES, Plot, Style

__all__ = ["quality_plot"]

PANEL_INCHES = 3.6
NARROW_LETTERS = 34  # of a line that fits on a phone
OTHERS = "other scores"


def quality_plot(result: QualityResult) -> Plot:
    """Plot recall at 1 of every method against FLOPs, a panel for each set of merging layers.

    The last panel shows the speed for the first set, if measured. Cheaper is to the right; bands
    are one standard deviation over seeds.

    Args:
        result: From `run_quality`.
    """
    text = (
        "A line is a method, a point a budget: higher keeps more, further right is cheaper. Bands "
        "are one standard deviation over seeds."
    )
    return Plot(partial(_draw, result), "Quality against cost", text, font_size=11)


def _draw(result: QualityResult, width_inches: float) -> Any:
    from matplotlib.figure import Figure

    placements = _placements(result.rows) or [()]
    drawn = [(_FLOPS, layers) for layers in placements]
    drawn += [(_SPEED, placements[0])] * any(row.timing for row in result.rows)
    is_wide = width_inches >= WIDE_INCHES
    num_columns = 3 if is_wide else 2
    height = PANEL_INCHES * len(drawn) + (1 if is_wide else 1.6)
    figure = Figure(figsize=(width_inches, height), layout="constrained")
    panels = figure.subplots(len(drawn), 1, squeeze=False)[:, 0]
    for (x, layers), panel in zip(drawn, panels, strict=True):
        _draw_panel(panel, result, layers, x)
        if not is_wide:
            panel.set_xlabel(fill(x.label, NARROW_LETTERS))
    handles: dict[str, Any] = {}
    for panel in panels:
        handles |= {line.get_label(): line for line in panel.lines}
    named = [name for name in (*METHOD_STYLES, OTHERS) if name in handles]
    figure.legend(
        [handles[name] for name in named],
        named,
        loc="outside lower center",
        ncols=num_columns,
        frameon=False,
    )
    return figure


@dataclass(frozen=True)
class _Axis:
    """What the horizontal axis shows."""

    label: str
    value: Callable[[Row], float]
    falls: bool


_FLOPS = _Axis("FLOPs, share of the unmerged forward's", lambda row: row.flop_ratio or 0.0, True)
_SPEED = _Axis(
    "measured clips per second over the unmerged model's",
    lambda row: row.timing["speedup"] if row.timing else 0.0,
    False,
)


def _placements(rows: Iterable[Row]) -> list[Layers]:
    """List the sets of layers that methods were measured in, in their order."""
    return list(dict.fromkeys(row.layers for row in rows if row.layers is not None))


def _draw_panel(panel: Any, result: QualityResult, layers: Layers, x: _Axis) -> None:
    for method, rows in _lines(result.rows, layers).items():
        points = [result.unmerged, *rows]
        style = METHOD_STYLES.get(method, Style())
        xs = [x.value(row) for row in points]
        ys, stds = _quality(points)
        panel.plot(
            xs,
            ys,
            style.dashes,
            color=style.colour,
            linewidth=style.width,
            marker=".",
            zorder=3 if method in METHOD_STYLES else 2,
            label=method if method in METHOD_STYLES else OTHERS,
        )
        if method in (DEFAULT, PAPER, "random dropping"):
            low = [y - std for y, std in zip(ys, stds, strict=True)]
            high = [y + std for y, std in zip(ys, stds, strict=True)]
            panel.fill_between(xs, low, high, color=style.colour, alpha=0.12, linewidth=0)
    panel.set_xlabel(x.label)
    panel.set_ylabel("R@1, mean of both ways (%)")
    if x.falls:  # cheaper is to the right
        panel.invert_xaxis()
    where = ", ".join(map(str, layers))
    panel.set_title(f"merging in layers {where} (counted from 0)", loc="left")
    panel.spines[["top", "right"]].set_visible(False)
    panel.grid(alpha=0.25, linewidth=0.5)


def _lines(rows: Sequence[Row], layers: Layers) -> dict[str, list[Row]]:
    """Collect the points of each method, costliest first, without ablations."""
    lines: dict[str, list[Row]] = {}
    for row in rows:
        is_here = row.layers in (None, layers)
        is_ablation = row.method in [method.name for method in ABLATIONS]
        if is_here and not is_ablation and row.flop_ratio is not None:
            lines.setdefault(row.method, []).append(row)
    return {
        method: sorted(points, key=lambda row: -(row.flop_ratio or 0.0))
        for method, points in lines.items()
    }


def _quality(points: Sequence[Row]) -> tuple[list[float], list[float]]:
    spreads = [row.measures["r1"] for row in points if row.measures is not None]
    return [spread.mean for spread in spreads], [spread.std for spread in spreads]
