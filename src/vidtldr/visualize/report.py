"""One page that shows what was merged, in a file of its own: nothing is fetched from anywhere."""

from pathlib import Path

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
    """The report in a sentence or three; of speed only where the times tell it."""
    before, after = report.unmerged, report.merged
    share = after.num_tokens[-1] / before.num_tokens[-1]
    words = (
        f"{before.num_tokens[-1]} tokens became {after.num_tokens[-1]} ({share:.0%}), "
        f"{before.flops / 1e9:.3g} GFLOPs became {after.flops / 1e9:.3g}{_speed(before, after)}"
    )
    if not report.are_answers_meant or not before.answers or not after.answers:
        return words
    same = before.answers[0].text == after.answers[0].text
    return f"{'The first answer stays' if same else 'The first answer changes'}. {words}"


def _speed(before: Side, after: Side) -> str:
    """The end of the sentence that tells of FLOPs."""
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
    )


def _range(side: Side) -> str:
    return f"{milliseconds(min(side.times_ms))} to {milliseconds(max(side.times_ms))}"


def milliseconds(time_ms: float) -> str:
    """A time in words, to three digits or whole milliseconds."""
    return f"{time_ms:.{0 if time_ms >= 100 else 1}f} ms"
