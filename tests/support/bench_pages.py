"""The page of a benchmark with figures made up."""

from dataclasses import replace
from pathlib import Path

from support.read_page import HOSTILE

from vidtldr.visualize.bench_page import BenchPage, PageFigure, PageTable

LONG = "W" * 300


def plain_svg(width: int, colour: str) -> bytes:
    """A plot of one colour, as matplotlib writes them: with styles inside."""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}pt" height="{width}pt" '
        f'viewBox="0 0 {width} {width}"><style>rect{{stroke:none}}</style>'
        f'<rect width="{width}" height="{width}" style="fill:{colour}"/></svg>'
    ).encode()


def plain_page() -> BenchPage:
    columns = [f"column {number}" for number in range(14)]
    return BenchPage(
        title="How fast it is",
        lead="One model, timed.",
        verdict="Merged is 1.50x as fast.",
        command="vidtldr bench latency --peers 'merged;ToMe'",
        facts=[("device", "a device, 2 threads"), ("date", "2026-01-01")],
        tables=[
            PageTable("Batch 1", ["how", *columns], [["merged", *["1.00"] * 14]], ["Times in ms."]),
            PageTable("", ["", "ms"], [["unmerged", "3"], ["merged", "2"]], strong_rows=[1]),
        ],
        figures=[
            PageFigure(
                "Times", "Shorter is faster.", plain_svg(504, "#0f0"), plain_svg(288, "#00f")
            )
        ],
    )


def hostile_page() -> BenchPage:
    """Text from outside in every place."""
    text = HOSTILE + LONG
    table = PageTable(text, [text, text], [[text, text], ["a", "b"]], [text], [0])
    [figure] = plain_page().figures
    return BenchPage(
        title=text,
        lead=text,
        verdict=text,
        command=text,
        facts=[(text, text)],
        tables=[table],
        figures=[replace(figure, title=text, text=text)],
        files=[(text, Path(text.replace("/", "")))],
    )
