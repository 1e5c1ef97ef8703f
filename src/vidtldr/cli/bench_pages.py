"""Pages of `vidtldr bench quality` and `bench saliency`."""

from collections.abc import Mapping
from typing import Any

from vidtldr.bench.quality import QualityResult, Row
from vidtldr.bench.quality_methods import PRESET
from vidtldr.bench.saliency_quality import SaliencyResult
from vidtldr.cli.bench_tables import (
    FIGURES,
    budget_table,
    quality_headline,
    quality_notes,
    recall_table,
    saliency_headline,
    saliency_note,
    saliency_table,
    shown_budget,
)
from vidtldr.cli.page_parts import PAGE_WIDTH, as_sentence, environment_facts, page_table
from vidtldr.visualize.bench_page import BenchPage, PageTable

__all__ = ["quality_page", "saliency_page"]


def quality_page(report: Mapping[str, Any], result: QualityResult) -> BenchPage:
    """Show what every method keeps at every budget.

    Args:
        report: With the environment and the weights.
        result: Of `run_quality`.
    """
    environment = report["environment"]
    budget = shown_budget(result)
    recall, everything = recall_table(result, PAGE_WIDTH), budget_table(result, PAGE_WIDTH)
    notes = [as_sentence(note) for note in quality_notes(result, PAGE_WIDTH)]
    unmerged = f"Columns are shares of the FLOPs. {as_sentence(quality_headline(result))}"
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
            page_table(recall, "R@1 at each share of the FLOPs", "method", [unmerged]),
            page_table(everything, f"Every figure at {budget:g} of the FLOPs", "method", notes),
        ],
    )


def saliency_page(report: Mapping[str, Any], results: Mapping[str, SaliencyResult]) -> BenchPage:
    """Show how well each score finds the foreground.

    Args:
        report: With the environment.
        results: Of `run_saliency`, by what the weights are called, any text.
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
    rows = [row for row in result.rows if row.budget == budget and row.measures is not None]
    shown = [row for row in rows if row.method == PRESET] or rows
    if not shown or result.unmerged.measures is None:
        return ""
    row = shown[0]
    name = f"the {PRESET}" if row.method == PRESET else row.method
    speed = "" if row.timing is None else f"; it runs {row.timing['speedup']:.2f}x as fast"
    return (
        f"With {row.flop_ratio:.0%} of the operations {name} has R@1 {_r1(row)}, the unmerged "
        f"model {_r1(result.unmerged)}{speed}."
    )


def _r1(row: Row) -> str:
    assert row.measures is not None
    spread = row.measures["r1"]
    return f"{spread.mean:.1f} ± {spread.std:.1f} %"


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
