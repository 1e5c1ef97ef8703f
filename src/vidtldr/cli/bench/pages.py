"""Pages and files that `vidtldr bench` writes."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import typer

from vidtldr.bench.marks import COMPARED
from vidtldr.bench.merging_methods import DEFAULT
from vidtldr.bench.quality_result import QualityResult, Row
from vidtldr.bench.resident import MemoryRow
from vidtldr.bench.roofline import Ceilings
from vidtldr.bench.saliency_quality import SaliencyResult
from vidtldr.bench.scaling import ScalingRow
from vidtldr.bench.speed import SpeedRow
from vidtldr.bench.speed_variants import MERGED, UNMERGED
from vidtldr.cli.bench.quality_tables import (
    budget_table,
    change_table,
    quality_headline,
    quality_notes,
    shown_budget,
)
from vidtldr.cli.bench.tables import (
    FIGURES,
    LATENCY_NOTE,
    ceiling_note,
    latency_doubts,
    latency_table,
    memory_table,
    saliency_headline,
    saliency_note,
    saliency_table,
    scaling_headline,
    scaling_table,
)
from vidtldr.cli.output_options import ResultOptions
from vidtldr.cli.terminal import in_flags, one_line, printable
from vidtldr.files import whole_file, write_json
from vidtldr.measure.environment import environment_facts
from vidtldr.measure.not_measured import NotMeasured
from vidtldr.visualize.bench_page import (
    PAGE_WIDTH,
    BenchPage,
    PageFigure,
    PageTable,
    as_sentence,
    page_table,
    write_bench_page,
)
from vidtldr.visualize.plot import NARROW_INCHES, WIDE_INCHES, Plot, require_matplotlib
from vidtldr.visualize.report_extra import validate_report_extra

__all__ = [
    "hand_over",
    "latency_page",
    "memory_page",
    "missing_extras",
    "print_not_measured",
    "quality_page",
    "saliency_page",
]


def quality_page(report: Mapping[str, Any], result: QualityResult) -> BenchPage:
    """Build the page with every method's quality at every budget.

    Args:
        report: Holds the environment and the weights.
        result: Result of `run_quality`.
    """
    environment = report["environment"]
    budget = shown_budget(result)
    notes = [as_sentence(note) for note in quality_notes(result, PAGE_WIDTH)]
    unmerged = f"Columns are shares of the FLOPs. {as_sentence(quality_headline(result))}"
    changes = [
        page_table(
            change_table(result, figure, PAGE_WIDTH),
            f"Change of {name} at each share of the FLOPs",
            "method",
            [unmerged] if figure == "r1" else [],
        )
        for figure, name in COMPARED.items()
    ]
    everything = budget_table(result, PAGE_WIDTH)
    return BenchPage(
        title="What saving operations costs in quality",
        lead="A video transformer searches, answers and labels generated clips of coloured shapes "
        "with fewer and fewer operations (FLOPs). Each method saves them in another way; all are "
        "measured on the same clips. R@1 is how often the right clip or text comes first, per "
        "cent, the mean of both ways.",
        verdict=_quality_verdict(result, budget),
        command=environment["command"],
        facts=[("weights", report["weights"]["file"]), *environment_facts(environment)],
        tables=[
            *changes,
            page_table(everything, f"Every figure at {budget:g} of the FLOPs", "method", notes),
        ],
    )


def saliency_page(report: Mapping[str, Any], results: Mapping[str, SaliencyResult]) -> BenchPage:
    """Build the page on how well each score finds the foreground.

    Args:
        report: Holds the environment.
        results: Results of `run_saliency`, by a name of the weights, which may be any text.
    """
    environment, options = report["environment"], report["options"]
    seeds = ", ".join(map(str, options["seeds"]))
    which = f"each of the seeds {seeds}" if len(options["seeds"]) > 1 else f"seed {seeds}"
    clips = f"{options['num_clips']} {options['split']} clips of {which}"
    return BenchPage(
        title="Which score finds the foreground",
        lead="vid-TLDR merges the background away, and tells it from the foreground by a score of "
        "each token. Here scores meet the true masks of generated clips, in every layer of an "
        "unmerged model.",
        verdict=_saliency_verdict(results),
        command=environment["command"],
        facts=[("clips", clips), *environment_facts(environment)],
        tables=[
            table for name, result in results.items() for table in _saliency_tables(name, result)
        ],
    )


def _saliency_tables(name: str, result: SaliencyResult) -> list[PageTable]:
    notes = {"auroc": [f"{as_sentence(saliency_headline(result))} {saliency_note(result)}"]}
    return [
        page_table(
            saliency_table(result, field, PAGE_WIDTH),
            f"{name}: {figure}",
            "score",
            notes.get(field, []),
        )
        for field, figure in FIGURES.items()
    ]


def _quality_verdict(result: QualityResult, budget: float) -> str:
    rows = [row for row in result.rows if row.budget == budget and row.change is not None]
    shown = [row for row in rows if row.method == DEFAULT] or rows
    if not shown:
        return ""
    row = shown[0]
    name = f"the {DEFAULT}" if row.method == DEFAULT else row.method
    speed = "" if row.timing is None else f"; it runs {row.timing['speedup']:.2f}x as fast"
    return (
        f"With {row.flop_ratio:.0%} of the operations, R@1 of {name} is {_r1(row)} % against "
        f"{_r1(result.unmerged)} % unmerged, {_noise(row)}{speed}."
    )


def _r1(row: Row) -> str:
    assert row.measures is not None
    return f"{row.measures['r1'].mean:.1f}"


def _noise(row: Row) -> str:
    assert row.change is not None
    change = row.change["r1"]
    words = "beyond noise" if change.is_beyond_noise else "within noise"
    return f"a change of {change.mean:+z.1f} ± {change.standard_error:.1f} points, {words}"


def _saliency_verdict(results: Mapping[str, SaliencyResult]) -> str:
    rows = [row for result in results.values() for row in result.rows]
    best = max(rows, key=lambda row: max(row.auroc.mean, row.auroc_negated.mean))
    is_negated = best.auroc_negated.mean > best.auroc.mean
    auroc = best.auroc_negated if is_negated else best.auroc
    return (
        f"Best of all: {'minus ' if is_negated else ''}{best.score} in layer {best.layer}, which "
        f"puts a token of the foreground before one of the background {auroc.mean:.0%} of the "
        "time; chance is 50%."
    )


NAMES = "how it runs"
COLUMNS = (
    "Lowest, highest: of the same ratios. GFLOPs: of a forward, 1 MAC = 2 FLOPs. TFLOP/s, GB/s: "
    "these, and what operators read and write, over the time. Peak: of the tensors made on the "
    "way."
)


def latency_page(
    report: Mapping[str, Any],
    rows: Sequence[SpeedRow],
    curves: Mapping[str, Sequence[ScalingRow]],
    ceilings: Mapping[str, Ceilings],
) -> BenchPage:
    """Build the page with the latency of every variant.

    Args:
        report: Holds the environment, the model and what was not measured.
        rows: Rows of `measure_setting`.
        curves: Rows of `measure_scaling`, by dtype.
        ceilings: Results of `measure_ceilings`, by dtype.
    """
    tables = []
    for setting in dict.fromkeys(row.setting for row in rows):
        here = [row for row in rows if row.setting == setting]
        table = latency_table(PAGE_WIDTH, here)
        ceiling = ceilings.get(setting.dtype)
        notes = [as_sentence(doubt) for doubt in latency_doubts(here)]
        notes += [] if ceiling is None else [as_sentence(ceiling_note(ceiling))]
        tables.append(page_table(table, _title(setting.headline), NAMES, notes))
    tables[0] = replace(tables[0], notes=[*tables[0].notes, as_sentence(LATENCY_NOTE), COLUMNS])
    for dtype, curve in curves.items():
        tables.append(
            page_table(scaling_table(PAGE_WIDTH, curve), _title(scaling_headline(dtype)), "tokens")
        )
    return BenchPage(
        title="How fast merging is",
        lead="One video model with the same weights, unmerged and merged in several ways, timed "
        "in turn on one machine after its outputs were compared.",
        verdict=_latency_verdict(rows),
        command=report["environment"]["command"],
        facts=report_facts(report),
        tables=tables,
    )


def memory_page(report: Mapping[str, Any], rows: Sequence[MemoryRow]) -> BenchPage:
    """Build the page with the peak memory of every variant.

    Args:
        report: Holds the environment, the model and what was not measured.
        rows: Rows of all variants.
    """
    tables = []
    for setting in dict.fromkeys(row.setting for row in rows):
        here = [row for row in rows if row.setting == setting]
        tables.append(page_table(memory_table(PAGE_WIDTH, here), _title(setting.headline), NAMES))
    return BenchPage(
        title="How much memory merging needs",
        lead="The peak of memory above that of the loaded model, each measured in a process of "
        "its own; the median of several.",
        verdict=_memory_verdict(rows),
        command=report["environment"]["command"],
        facts=report_facts(report),
        tables=tables,
    )


def _title(headline: str) -> str:
    return headline[:1].upper() + headline[1:]


def _latency_verdict(rows: Sequence[SpeedRow]) -> str:
    merged = [row for row in rows if row.variant == MERGED]
    if not merged:
        return ""
    unmerged = {row.setting: row for row in rows if row.variant == UNMERGED}
    speeds = [row.speedup["median"] for row in merged]
    if len(merged) == 1:
        base = unmerged[merged[0].setting]
        before, after = base.timing.median_ms, merged[0].timing.median_ms
        times = f"a forward takes {after:.1f} ms instead of {before:.1f} ms"
        gain = merged[0].gain_over(base)
        words = gain.words if gain.change == "unclear" else f"{gain.median:.2f}x as fast"
        return f"Merged, {times}: {words}."
    return (
        f"Merged is {min(speeds):.2f}x to {max(speeds):.2f}x as fast as unmerged, over "
        f"{len(merged)} settings."
    )


def _memory_verdict(rows: Sequence[MemoryRow]) -> str:
    ratios = [row.ratio for row in rows if row.variant == MERGED and row.ratio is not None]
    if not ratios:
        return ""
    low, high = (f"{ratio:.0%}" for ratio in (min(ratios), max(ratios)))
    return f"Merged needs {low if low == high else f'{low} to {high}'} of what unmerged needs."


PLOTS, REPORT = "plots", "report"


def missing_extras(wanted: ResultOptions) -> frozenset[str]:
    """Find the extras that the outputs need and that are missing; warns before the work.

    Args:
        wanted: The outputs, as typed.

    Returns:
        Names of extras.
    """
    needed: list[tuple[str, Callable[[], None]]] = []
    if wanted.plot is not None or wanted.report is not None:
        needed.append((PLOTS, require_matplotlib))
    if wanted.report is not None:
        needed.append((REPORT, validate_report_extra))
    missing = set()
    for name, check in needed:
        try:
            check()
        except ImportError as error:
            typer.echo(f"note: {one_line(str(error))} The rest goes on without it.", err=True)
            missing.add(name)
    return frozenset(missing)


def hand_over(
    result: dict[str, Any],
    wanted: ResultOptions,
    missing: frozenset[str],
    plot: Plot,
    page: BenchPage,
    written: Sequence[tuple[str, Path]] = (),
) -> None:
    """Print the result as one line of JSON, and write its file, plot and page, each if wanted.

    Args:
        result: The whole result, ready for JSON.
        wanted: The outputs, as typed.
        missing: Result of `missing_extras`.
        plot: The plot.
        page: The page, without the plot and its other files.
        written: Name and path of each file already written that belongs to the page.

    Raises:
        OSError: If a file cannot be written.
    """
    files = list(written)
    if wanted.as_json:
        print(json.dumps(result), flush=True)
    if wanted.output is not None:
        write_json(wanted.output, result)
        files.append(("JSON", wanted.output))
    if wanted.plot is not None and PLOTS not in missing:
        files += zip(("PNG", "SVG"), plot.write(wanted.plot), strict=True)
    if wanted.report is not None and REPORT not in missing:
        figures = [] if PLOTS in missing else [_figure(plot)]
        with whole_file(wanted.report) as partial:
            write_bench_page(partial, replace(page, figures=figures, files=files))
        files.append(("page", wanted.report))
    for _, file in files:
        typer.echo(f"wrote {printable(str(file))}", err=True)


def print_not_measured(failed: NotMeasured) -> None:
    """Print on stderr what could not be measured and why; nothing if all was."""
    for what, error in failed.errors.items():
        typer.echo(f"not measured: {what}: {one_line(in_flags(error))}", err=True)


def _figure(plot: Plot) -> PageFigure:
    return PageFigure(plot.title, plot.text, plot.svg(WIDE_INCHES), plot.svg(NARROW_INCHES))


def report_facts(report: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the model, where and when it was measured, and what could not be measured."""
    failed = [
        ("not measured", f"{each['what']}: {in_flags(each['error'])}")
        for each in report["not_measured"]
    ]
    return [("model", report["model"]), *environment_facts(report["environment"]), *failed]
