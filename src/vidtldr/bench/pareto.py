"""The quality benchmark as a picture: quality against FLOPs and against measured speed."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from vidtldr.bench.quality import QualityResult, Row
from vidtldr.bench.quality_methods import PAPER, PRESET, Layers

__all__ = ["plot_quality", "require_matplotlib"]

PAPER_BUDGET = 0.6  # its schedules for UMT-B come to 0.59 to 0.75
LABEL_GAP = 0.052  # between two labels, as a share of a panel's height
# Okabe and Ito's colours, which the colour-blind tell apart; the widths do it in print.
GREY = "#9a9a9a"


@dataclass(frozen=True)
class Style:
    """How a method is drawn."""

    colour: str = GREY
    width: float = 1.0
    dashes: str = "-"


STYLES = {
    PAPER: Style("#d55e00", 2.4),
    PRESET: Style("#0072b2", 2.4),
    "ToMe (keys)": Style("#009e73", 1.6),
    "random dropping": Style("#000000", 1.6, "--"),
    "fewer frames": Style("#cc79a7", 1.6, ":"),
    "lower resolution": Style("#e69f00", 1.6, ":"),
}


def require_matplotlib() -> None:
    """Check that plots can be drawn.

    Raises:
        ImportError: If matplotlib is missing.
    """
    if find_spec("matplotlib") is None:
        raise ImportError(
            "plots must have matplotlib, which is not installed. Run pip install 'vidtldr[plots]'."
        )


def plot_quality(result: QualityResult, path: Path) -> list[Path]:
    """Draw recall at 1 of every method, a row of panels for each set of merging layers.

    Left against the FLOPs, right against the measured speed, if it was measured; in both, cheaper
    is to the right. Bands are one standard deviation over seeds.

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

    placements = _placements(result.rows)
    axes_of_x = [_FLOPS] if result.rows[0].timing is None else [_FLOPS, _SPEED]
    files = [path.with_suffix(ending) for ending in (".png", ".svg")]
    with rc_context({"font.size": 9, "svg.hashsalt": "vidtldr", "axes.titlesize": 10}):
        size = (6.2 * len(axes_of_x), 3.9 * len(placements))
        figure = Figure(figsize=size, layout="constrained")
        panels = figure.subplots(len(placements), len(axes_of_x), squeeze=False, sharey="row")
        for layers, row in zip(placements, panels, strict=True):
            for x, panel in zip(axes_of_x, row, strict=True):
                _draw_panel(panel, result, layers, x, is_first=layers == placements[0])
        for file in files:
            metadata = {"Date": None} if file.suffix == ".svg" else None
            figure.savefig(file, dpi=150, metadata=metadata)
    return files


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


def _draw_panel(
    panel: Any, result: QualityResult, layers: Layers, x: _Axis, *, is_first: bool
) -> None:
    ends: list[tuple[float, float, str]] = []
    for method, rows in _lines(result.rows, layers).items():
        points = [result.unmerged, *rows]
        style = STYLES.get(method, Style())
        xs = [x.value(row) for row in points]
        ys, stds = _quality(points)
        panel.plot(
            xs, ys, style.dashes, color=style.colour, linewidth=style.width, marker=".", zorder=3
        )
        if method in STYLES:
            low = [y - std for y, std in zip(ys, stds, strict=True)]
            high = [y + std for y, std in zip(ys, stds, strict=True)]
            panel.fill_between(xs, low, high, color=style.colour, alpha=0.12, linewidth=0)
        ends.append((xs[-1], ys[-1], method))
    if is_first:
        _mark_paper(panel, result.rows, layers, x)
    panel.set_xlabel(x.label)
    if x.falls:  # it comes first, left
        panel.invert_xaxis()
        panel.set_ylabel("R@1, mean of both directions (%)")
    panel.set_title(f"merging in layers {', '.join(map(str, layers))} (counted from 0)", loc="left")
    panel.spines[["top", "right"]].set_visible(False)
    panel.grid(alpha=0.25, linewidth=0.5)
    _label_ends(panel, ends)


def _lines(rows: Sequence[Row], layers: Layers) -> dict[str, list[Row]]:
    """Points of each method, dearest first; ablations are left to the table."""
    lines: dict[str, list[Row]] = {}
    for row in rows:
        is_here = row.layers in (None, layers) or row.method == PRESET
        is_ablation = row.method.startswith(f"{PAPER},")
        if is_here and not is_ablation and row.flop_ratio is not None:
            lines.setdefault(row.method, []).append(row)
    return {
        method: sorted(points, key=lambda row: -(row.flop_ratio or 0.0))
        for method, points in lines.items()
    }


def _quality(points: Sequence[Row]) -> tuple[list[float], list[float]]:
    spreads = [row.measures["r1"] for row in points if row.measures is not None]
    return [spread.mean for spread in spreads], [spread.std for spread in spreads]


def _mark_paper(panel: Any, rows: Sequence[Row], layers: Layers, x: _Axis) -> None:
    for row in rows:
        if (row.method, row.layers, row.budget) == (PAPER, layers, PAPER_BUDGET) and row.measures:
            at = (x.value(row), row.measures["r1"].mean)
            panel.plot(*at, "*", color=STYLES[PAPER].colour, markersize=15, zorder=5)
            panel.annotate(
                "the paper's setting",
                at,
                xytext=(14, 10),
                textcoords="offset points",
                color=STYLES[PAPER].colour,
            )


def _label_ends(panel: Any, ends: Sequence[tuple[float, float, str]]) -> None:
    """Write each method's name right of the panel, level with its end as far as there is room."""
    bottom, top = panel.get_ylim()
    ordered = sorted(ends, key=lambda end: end[1])
    wanted = [(y - bottom) / (top - bottom) for _, y, _ in ordered]
    for (x, y, method), place in zip(ordered, _spread_out(wanted), strict=True):
        style = STYLES.get(method, Style())
        panel.annotate(
            method,
            (x, y),
            xytext=(1.04, place),
            textcoords="axes fraction",
            va="center",
            color=style.colour if method in STYLES else "#555555",
            fontweight="bold" if style.width > 2 else "normal",
            arrowprops={"arrowstyle": "-", "color": style.colour, "linewidth": 0.5, "alpha": 0.6},
            annotation_clip=False,
        )


def _spread_out(wanted: Sequence[float]) -> list[float]:
    """Heights in [0, 1] in their order, at least `LABEL_GAP` apart, near where they are wanted."""
    places: list[float] = []
    for height in wanted:  # upwards: each above the one before
        places.append(max(height, places[-1] + LABEL_GAP) if places else height)
    limit = 1.0
    for index in range(len(places) - 1, -1, -1):  # and back down from the top
        places[index] = min(places[index], limit)
        limit = places[index] - LABEL_GAP
    return places
