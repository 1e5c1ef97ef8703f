"""Plot a search: drift on the held-out clips against measured speed and against FLOPs."""

from collections.abc import Sequence
from functools import partial
from typing import Any

from vidtldr.tune.frontier import frontier
from vidtldr.tune.result import MARKERS, TUNED, Point, TimedPoint, TuneResult
from vidtldr.visualize.plot import METHOD_STYLES, Plot, Style, panels_plot

__all__ = ["tuning_plot"]

PANEL_INCHES = 4.4
TUNED_STYLES = (Style("#0072b2", 2.2), Style("#56b4e9", 1.8))
OTHER = Style("#b0b0b0")
MARKER_SHAPES = dict(zip(MARKERS, ("s", "^", "x"), strict=True))


def tuning_plot(result: TuneResult) -> Plot:
    """Plot the timed rows, then every point tried on all search clips.

    Args:
        result: The result of a search.
    """
    panels = [partial(_draw_times, result=result), partial(_draw_budgets, result=result)]
    text = (
        "A point is a setting: lower is closer to the unmerged model, further right is cheaper. "
        "The dotted line is the target, where it can be drawn."
    )
    return panels_plot([(PANEL_INCHES, panel) for panel in panels], "Drift against cost", text)


def _draw_times(panel: Any, result: TuneResult) -> None:
    tuned = [row for row in result.rows if row.kind == TUNED]
    ahead = frontier(tuned, lambda row: (-row.speedup, row.measured.mean))
    _errors(panel, tuned, TUNED_STYLES[0], "o", "tuned, with the range of the rounds")
    panel.plot(
        [row.speedup for row in ahead],
        [row.measured.mean for row in ahead],
        color=TUNED_STYLES[0].colour,
        linewidth=TUNED_STYLES[0].width,
    )
    for kind, shape in MARKER_SHAPES.items():
        rows = [row for row in result.rows if row.kind == kind]
        if rows:
            _errors(panel, rows, METHOD_STYLES[kind], shape, kind)
    if result.chosen is not None:
        at = (result.chosen.speedup, result.chosen.measured.mean)
        ring = {"s": 170, "facecolors": "none", "edgecolors": "#000000", "linewidths": 1.4}
        panel.scatter(*at, label=f"chosen for {result.target}", zorder=4, **ring)
    _draw_target(panel, result, with_time=True)
    panel.set_xlabel("times as fast as the unmerged model, measured in turn")
    _finish(panel, result.rows, f"what was timed; {_clips(result)}")


def _draw_budgets(panel: Any, result: TuneResult) -> None:
    lines: dict[tuple[str, str], list[Point]] = {}
    for point in sorted(result.points, key=lambda point: -point.flop_ratio):
        where = "-".join(map(str, point.layers)) if point.kind == TUNED else ""
        lines.setdefault((point.name, where), []).append(point)
    styles = iter(TUNED_STYLES)
    for (name, where), points in lines.items():
        xs, ys = [p.flop_ratio for p in points], [p.measured.mean for p in points]
        if points[0].kind in MARKERS:
            style, label, shape = METHOD_STYLES[name], name, MARKER_SHAPES[points[0].kind]
        elif len(points) > 1:
            style, shape = next(styles, OTHER), "o"
            label = f"{name}; layers {where.replace('-', ', ')}"
        else:
            style, label, shape = OTHER, "the best place of each other score", "."
        known = {line.get_label() for line in panel.lines}
        panel.plot(
            xs,
            ys,
            style.dashes,
            color=style.colour,
            linewidth=style.width,
            marker=shape,
            markersize=5 if shape != "." else 8,
            label=None if label in known else label,
        )
    _draw_target(panel, result, with_time=False)
    panel.set_xlabel("FLOPs, share of the unmerged transformer's")
    panel.invert_xaxis()  # cheaper is to the right
    _finish(panel, result.points, f"all that was tried; {_clips(result)}")


def _errors(panel: Any, rows: Sequence[TimedPoint], style: Style, shape: str, label: str) -> None:
    low = [row.speedup - row.speedups["lowest"] for row in rows]
    high = [row.speedups["highest"] - row.speedup for row in rows]
    panel.errorbar(
        [row.speedup for row in rows],
        [row.measured.mean for row in rows],
        xerr=[low, high],
        fmt=shape,
        color=style.colour,
        elinewidth=0.8,
        label=label,
        zorder=3,
    )


def _draw_target(panel: Any, result: TuneResult, *, with_time: bool) -> None:
    line = {"color": "#666666", "linewidth": 0.8, "linestyle": ":", "zorder": 1}
    if result.target.name == "drift":
        panel.axhline(result.target.value, **line)
    elif (result.target.name == "speedup") == with_time:
        panel.axvline(result.target.value, **line)


def _finish(panel: Any, points: Sequence[Point], title: str) -> None:
    if all(point.measured.mean > 0 for point in points):
        panel.set_yscale("log")
    panel.set_ylabel("drift from the unmerged model")
    panel.set_title(title, loc="left")
    # Below the axis, where it hides nothing.
    panel.legend(loc="upper left", bbox_to_anchor=(0, -0.13), ncols=2, frameon=False, fontsize=8)


def _clips(result: TuneResult) -> str:
    number = result.num_held_out_clips
    return f"drift on {number} held-out clip{'s' * (number != 1)}"
