"""A self-contained HTML page that shows what was merged: it loads nothing from outside."""

from pathlib import Path

from vidtldr.measure.gain import gain_of
from vidtldr.measure.timing import Timing
from vidtldr.visualize.charts import Chart, layer_chart, mass_chart
from vidtldr.visualize.filled_page import encode_page, fill_page
from vidtldr.visualize.page_data import page_data
from vidtldr.visualize.report_facts import Report, Side

__all__ = ["render_report", "verdict", "write_report"]

_STYLES = ("report.css",)
_SCRIPTS = ("decode.js", "draw.js", "inspect.js", "page.js")


def write_report(path: Path, report: Report) -> int:
    """Write the page.

    Args:
        path: The file to write.
        report: What it shows.

    Returns:
        Bytes written.

    Raises:
        ImportError: If jinja2 is missing.
        OSError: If the file cannot be written.
    """
    return path.write_bytes(encode_page(render_report(report)))


def render_report(report: Report) -> str:
    """Fill in the page.

    Args:
        report: What it shows.

    Returns:
        HTML.

    Raises:
        ImportError: If jinja2 is missing.
    """
    return fill_page(
        "report.html.j2",
        _STYLES,
        _SCRIPTS,
        report=report,
        data=page_data(report),
        charts=_charts(report),
        verdict=verdict(report),
        milliseconds=milliseconds,
    )


def _charts(report: Report) -> list[Chart]:
    sides = report.sides
    num_tokens = [side.num_tokens for side in sides]
    charts = [layer_chart("tokens", "Tokens after each layer", "tokens", sides, num_tokens)]
    per_layer = [side.flops_per_layer for side in sides]
    known = [[flops / 1e9 for flops in line] for line in per_layer if line is not None]
    if len(known) == len(sides):
        title = "Cost of each layer"
        charts.append(layer_chart("costs", title, "GFLOPs (1 MAC = 2 FLOPs)", sides, known, 3))
    return [*charts, mass_chart(report.methods)]


def verdict(report: Report) -> str:
    """Sum up the report in one to three sentences; speed only if the times show a difference."""
    before, after = report.unmerged, report.merged
    share = after.num_tokens[-1] / before.num_tokens[-1]
    words = (
        f"{before.num_tokens[-1]} tokens became {after.num_tokens[-1]} ({share:.0%}), "
        f"{before.flops / 1e9:.3g} GFLOPs became {after.flops / 1e9:.3g}{_speed(report)}"
    )
    if not report.are_answers_meant or not before.answers or not after.answers:
        return words
    same = before.answers[0].text == after.answers[0].text
    return f"{'The first answer stays' if same else 'The first answer changes'}. {words}"


def _speed(report: Report) -> str:
    """The end of the sentence about FLOPs."""
    before, after = report.unmerged, report.merged
    if min(len(before.times_ms), len(after.times_ms)) == 1:
        return ". One run of each does not tell their times apart."
    if not after.time_differs_from(before):
        return (
            f". Their times do not tell them apart: a forward takes {_range(after)} merged, "
            f"{_range(before)} unmerged."
        )
    return (
        f", and a forward takes {milliseconds(after.median_ms)} instead of "
        f"{milliseconds(before.median_ms)} ({before.median_ms / after.median_ms:.2f}x)."
        f"{_why_slower(report)}"
    )


def _why_slower(report: Report) -> str:
    before, after = report.unmerged, report.merged
    gain = gain_of(
        Timing(tuple(before.times_ms), report.busy),
        Timing(tuple(after.times_ms), report.busy),
        flop_ratio=after.flops / before.flops,
        num_tokens=(before.num_tokens[-1], after.num_tokens[-1]),
    )
    reason = gain.why_none
    return f" {reason[0].upper()}{reason[1:]}." if reason else ""


def _range(side: Side) -> str:
    return f"{milliseconds(min(side.times_ms))} to {milliseconds(max(side.times_ms))}"


def milliseconds(time_ms: float) -> str:
    """Format a time to three digits or whole milliseconds."""
    return f"{time_ms:.{0 if time_ms >= 100 else 1}f} ms"
