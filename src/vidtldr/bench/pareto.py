"""The quality benchmark as a picture: quality against FLOPs and against measured speed."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vidtldr.bench.drawing import WIDTH_INCHES, require_matplotlib, save_figure
from vidtldr.bench.quality import QualityResult, Row
from vidtldr.bench.quality_methods import ABLATIONS, PAPER, PRESET, VID_TLDR, Layers

__all__ = ["STYLES", "Style", "plot_quality"]

PANEL_INCHES = 3.6
OTHERS = "other scores"


@dataclass(frozen=True)
class Style:
    """How a method is drawn."""

    colour: str = "#b0b0b0"
    width: float = 1.0
    dashes: str = "-"


# Okabe and Ito's colours, which the colour-blind tell apart; widths and dashes do it in print.
STYLES = {
    PRESET: Style("#0072b2", 3.0),
    PAPER: Style("#d55e00", 3.0),
    VID_TLDR: Style("#d55e00", 1.4),
    "plain merging on x": Style("#56b4e9", 1.4),
    "plain by mass": Style("#56b4e9", 2.4, "--"),
    "vid-TLDR by mass": Style("#d55e00", 1.4, "--"),
    "ToMe (keys)": Style("#009e73", 1.4),
    "random merging": Style("#000000", 1.4, "-."),
    "random dropping": Style("#000000", 1.8, "--"),
    "fewer frames": Style("#cc79a7", 1.8, ":"),
    "lower resolution": Style("#e69f00", 1.8, ":"),
}


def plot_quality(result: QualityResult, path: Path) -> list[Path]:
    """Draw recall at 1 of every method against the FLOPs, a panel for each set of merging layers.

    A last panel has the measured speed, if it was measured, for the first set. Cheaper is to the
    right; bands are one standard deviation over seeds.

    Args:
        result: Of `run_quality`.
        path: Where to write; its ending is replaced by `.png` and `.svg`.

    Returns:
        Both files.

    Raises:
        ImportError: If matplotlib is missing.
    """
    require_matplotlib()
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    placements = _placements(result.rows) or [()]
    drawn = [(_FLOPS, layers) for layers in placements]
    drawn += [(_SPEED, placements[0])] * any(row.timing for row in result.rows)
    with rc_context({"font.size": 11, "svg.hashsalt": "vidtldr", "axes.titlesize": 11}):
        size = (WIDTH_INCHES, PANEL_INCHES * len(drawn) + 1)
        figure = Figure(figsize=size, layout="constrained")
        panels = figure.subplots(len(drawn), 1, squeeze=False)[:, 0]
        for (x, layers), panel in zip(drawn, panels, strict=True):
            _draw_panel(panel, result, layers, x)
        handles: dict[str, Any] = {}
        for panel in panels:
            handles |= {line.get_label(): line for line in panel.lines}
        named = [name for name in (*STYLES, OTHERS) if name in handles]
        figure.legend(
            [handles[name] for name in named],
            named,
            loc="outside lower center",
            ncols=3,
            frameon=False,
        )
        return save_figure(figure, path)


@dataclass(frozen=True)
class _Axis:
    """What stands on the horizontal axis."""

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
    """Sets of layers that methods other than the preset merge in, in their order."""
    found = (row.layers for row in rows if row.layers is not None and row.method != PRESET)
    return list(dict.fromkeys(found))


def _draw_panel(panel: Any, result: QualityResult, layers: Layers, x: _Axis) -> None:
    for method, rows in _lines(result.rows, layers).items():
        points = [result.unmerged, *rows]
        style = STYLES.get(method, Style())
        xs = [x.value(row) for row in points]
        ys, stds = _quality(points)
        panel.plot(
            xs,
            ys,
            style.dashes,
            color=style.colour,
            linewidth=style.width,
            marker=".",
            zorder=3 if method in STYLES else 2,
            label=method if method in STYLES else OTHERS,
        )
        if method in (PRESET, PAPER, "random dropping"):
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
    """Points of each method, dearest first; ablations are left to the table."""
    lines: dict[str, list[Row]] = {}
    for row in rows:
        is_here = row.layers in (None, layers) or row.method == PRESET
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
