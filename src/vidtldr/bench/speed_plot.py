"""Plots of latency, scaling and memory."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from vidtldr.bench.resident import MemoryRow
from vidtldr.bench.scaling import SIDES, ScalingRow
from vidtldr.bench.speed import Setting, SpeedRow
from vidtldr.bench.speed_variants import UNMERGED
from vidtldr.measure.timing import Timing
from vidtldr.visualize.plot import Panel, Plot, panels_plot

__all__ = ["latency_plot", "memory_plot"]

BAR_INCHES = 0.28
CURVES_INCHES = 3.4
# Okabe and Ito's colour-blind-safe colours.
MERGED_COLOUR, UNMERGED_COLOUR = "#0072b2", "#999999"
CURVE_COLOURS = dict(
    zip(SIDES, ("#999999", "#56b4e9", "#009e73", "#0072b2", "#cc79a7", "#d55e00"), strict=True)
)


def latency_plot(rows: Sequence[SpeedRow], curves: Mapping[str, Sequence[ScalingRow]]) -> Plot:
    """Plot bars for each setting, then time and memory against the number of tokens.

    Args:
        rows: From `measure_setting`.
        curves: From `measure_scaling`, by dtype.
    """
    panels: list[Panel] = []
    for setting in dict.fromkeys(row.setting for row in rows):
        bars = {row.variant: row for row in rows if row.setting == setting}
        values = {name: row.timing.median_ms for name, row in bars.items()}
        spreads = {name: row.timing.spread_ms for name, row in bars.items()}
        panels.append(_bars(setting, values, spreads, "ms, median and range"))
    for dtype, curve in curves.items():
        panels.append((CURVES_INCHES, partial(_times, rows=curve, dtype=dtype)))
        panels.append((CURVES_INCHES, partial(_peaks, rows=curve, dtype=dtype)))
    text = (
        "Shorter is faster. The dotted line is the unmerged model on fused attention; whiskers "
        "reach from the fastest round to the slowest."
    )
    if curves:
        text += " Curves: one layer's attention alone, both axes logarithmic."
    return panels_plot(panels, "Time of a forward", text)


def memory_plot(rows: Sequence[MemoryRow]) -> Plot:
    """Plot a panel of bars for each setting."""
    panels: list[Panel] = []
    for setting in dict.fromkeys(row.setting for row in rows):
        found = {row.variant: row for row in rows if row.setting == setting}
        values = {name: row.median_bytes / 2**20 for name, row in found.items()}
        spreads = {
            name: (row.spread_bytes[0] / 2**20, row.spread_bytes[1] / 2**20)
            for name, row in found.items()
        }
        panels.append(_bars(setting, values, spreads, "peak above load, MiB"))
    text = (
        "Shorter needs less. The dotted line is the unmerged model; whiskers reach from the lowest "
        "process to the highest."
    )
    return panels_plot(panels, "Peak of memory above the loaded model", text)


def _bars(
    setting: Setting,
    values: Mapping[str, float],
    spreads: Mapping[str, tuple[float, float]],
    label: str,
) -> Panel:
    def draw(panel: Any) -> None:
        names = list(values)
        low = [values[name] - spreads[name][0] for name in names]
        high = [spreads[name][1] - values[name] for name in names]
        colours = [UNMERGED_COLOUR if n.startswith(UNMERGED) else MERGED_COLOUR for n in names]
        panel.barh(names, list(values.values()), xerr=[low, high], color=colours)
        panel.axvline(values[UNMERGED], color="black", linewidth=0.8, linestyle=":")
        panel.invert_yaxis()
        panel.set_xlabel(label)
        panel.set_title(setting.headline, loc="left")

    return 1.0 + BAR_INCHES * len(values), draw


def _times(panel: Any, rows: Sequence[ScalingRow], dtype: str) -> None:
    values = {
        (row.side, row.num_tokens): Timing(row.times_ms).median_ms for row in rows if row.times_ms
    }
    _curves(panel, values, f"attention of one layer, {dtype}", "ms")


def _peaks(panel: Any, rows: Sequence[ScalingRow], dtype: str) -> None:
    values = {
        (row.side, row.num_tokens): row.peak_bytes / 2**20
        for row in rows
        if row.peak_bytes is not None
    }
    _curves(panel, values, f"attention of one layer, {dtype}", "peak, MiB")


def _curves(panel: Any, values: Mapping[tuple[str, int], float], title: str, label: str) -> None:
    sides = dict.fromkeys(side for side, _ in values)
    for side in sides:
        points = [(count, value) for (name, count), value in values.items() if name == side]
        panel.plot(*zip(*points, strict=True), marker=".", color=CURVE_COLOURS[side], label=side)
    panel.set_xscale("log", base=2)
    panel.set_yscale("log", base=2)
    panel.set_xlabel("tokens")
    panel.set_ylabel(label)
    panel.set_title(title, loc="left")
    # Beside the axes, where it hides nothing.
    panel.legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False, fontsize="small")
