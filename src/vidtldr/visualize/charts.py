"""Charts as coordinates, for the page's template to draw."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import ceil, floor, log2, log10

from vidtldr.visualize.report_facts import Side

__all__ = ["Bar", "Chart", "Line", "layer_chart", "mass_chart"]

WIDTH, HEIGHT = 380, 240
LEFT, RIGHT, TOP, BOTTOM = 52, 10, 14, 40
_NUM_TICKS = 4


@dataclass(frozen=True)
class Line:
    """One series as steps: its index in the palette and the points of a polyline."""

    series: int
    points: str


@dataclass(frozen=True)
class Bar:
    """One bar of one series, with the label above it and where the label ends or starts."""

    series: int
    x: float
    y: float
    width: float
    height: float
    words: str
    words_x: float
    anchor: str


@dataclass(frozen=True)
class Chart:
    """A chart and the table of the same data.

    Attributes:
        identity: Its id in the page.
        title: What it shows.
        x_title: Title of the horizontal axis.
        y_title: Title of the vertical axis.
        series: Name and palette index of each series.
        x_ticks: Position and label of each tick.
        y_ticks: Position and label of each tick.
        lines: Lines to draw, or
        bars: bars to draw.
        columns: Column headers of the table.
        rows: Rows of the table.
    """

    identity: str
    title: str
    x_title: str
    y_title: str
    series: Sequence[tuple[str, int]]
    x_ticks: Sequence[tuple[float, str]]
    y_ticks: Sequence[tuple[float, str]]
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    lines: Sequence[Line] = ()
    bars: Sequence[Bar] = ()


def layer_chart(
    identity: str,
    title: str,
    y_title: str,
    sides: Sequence[Side],
    values: Sequence[Sequence[float]],
    decimals: int = 0,
) -> Chart:
    """Make a step chart over the layers, one line per side.

    Args:
        identity: Its id in the page.
        title: What it shows.
        y_title: What is counted, with its unit.
        sides: The series.
        values: For each side, one value per layer.
        decimals: Decimals of the values in the table.
    """
    depth = len(values[0])
    top, ticks = _scale(max(max(line) for line in values))
    step = (WIDTH - LEFT - RIGHT) / depth
    lines = []
    for series, line in enumerate(values):
        points = []
        for layer, value in enumerate(line):
            y = _y(value / top)
            left, right = LEFT + layer * step, LEFT + (layer + 1) * step
            points += [f"{left:.1f},{y:.1f}", f"{right:.1f},{y:.1f}"]
        lines.append(Line(series, " ".join(points)))
    every = ceil(depth / 12)
    return Chart(
        identity=identity,
        title=title,
        x_title="layer",
        y_title=y_title,
        series=[(side.name, series) for series, side in enumerate(sides)],
        x_ticks=[(LEFT + (i + 0.5) * step, str(i)) for i in range(0, depth, every)],
        y_ticks=[(_y(tick / top), f"{tick:g}") for tick in ticks],
        columns=["layer", *(side.name for side in sides)],
        rows=[[str(i), *(f"{line[i]:.{decimals}f}" for line in values)] for i in range(depth)],
        lines=lines,
    )


def mass_chart(methods: Sequence[Side]) -> Chart:
    """Make a histogram of the final token masses, one bar per method and range, on a log scale."""
    masses = [side.layers[-1].mass for side in methods]
    last = max(0, ceil(log2(max(float(mass.max()) for mass in masses))))
    edges = [2.0**power for power in range(last + 1)]
    names = ["1"] + [f"{low:g}–{high:g}" for low, high in pairwise(edges)]
    counts = []
    for mass in masses:
        alone = int((mass <= 1).sum())
        ranges = pairwise(edges)
        counts.append(
            [alone] + [int(((mass > low) & (mass <= high)).sum()) for low, high in ranges]
        )
    power = max(1, ceil(log10(1 + max(max(line) for line in counts))))
    slot = (WIDTH - LEFT - RIGHT) / len(names)
    width = 0.8 * slot / len(methods)
    bars = []
    for method, line in enumerate(counts):
        for place, count in enumerate(line):
            y = _y(log10(1 + count) / power)
            x = LEFT + (place + 0.1) * slot + method * width
            words = _words_place(x, width, method, len(methods))
            bars.append(Bar(method + 1, x, y, width, HEIGHT - BOTTOM - y, str(count), *words))
    return Chart(
        identity="masses",
        title="Mass of the tokens at the end",
        x_title="mass: patches that a token stands for",
        y_title="tokens, log scale",
        series=[(side.name, method + 1) for method, side in enumerate(methods)],
        x_ticks=[(LEFT + (i + 0.5) * slot, name) for i, name in enumerate(names)],
        y_ticks=[
            (_y(log10(1 + 10**p) / power), f"{10**p:g}")
            for p in range(power + 1)
            if log10(1 + 10**p) <= power
        ],
        columns=["mass", *(side.name for side in methods)],
        rows=[[name, *(str(line[i]) for line in counts)] for i, name in enumerate(names)],
        bars=bars,
    )


def _words_place(x: float, width: float, method: int, num_methods: int) -> tuple[float, str]:
    """Align the labels of neighbouring bars away from each other."""
    if num_methods == 1:
        return x + width / 2, "middle"
    return (x + width - 1, "end") if method == 0 else (x + 2, "start")


def _y(share: float) -> float:
    return TOP + (1 - share) * (HEIGHT - TOP - BOTTOM)


def _scale(largest: float) -> tuple[float, list[float]]:
    """The top of an axis from 0, and round ticks on it."""
    rough = max(largest, 1e-9) / _NUM_TICKS
    unit = 10.0 ** floor(log10(rough))
    step = next(unit * factor for factor in (1, 2, 2.5, 5, 10) if unit * factor >= rough)
    count = ceil(largest / step - 1e-9)
    return step * count, [step * tick for tick in range(count + 1)]
