"""Page of `vidtldr tune`."""

from collections.abc import Mapping
from typing import Any

from vidtldr.cli.page_parts import PAGE_WIDTH, as_sentence, environment_facts, page_table
from vidtldr.cli.plain_table import layer_span
from vidtldr.cli.tune_output import frontier_table, score_table, tuning_headline, tuning_note
from vidtldr.tune.result import TuneResult
from vidtldr.visualize.bench_page import BenchPage

__all__ = ["tuning_page"]


def tuning_page(report: Mapping[str, Any], result: TuneResult, kept_name: str | None) -> BenchPage:
    """Show what was tried and what was chosen.

    Args:
        report: With the environment and the videos that failed.
        result: Of a search.
        kept_name: What the share of clips that keep their answer is called; None without one.
    """
    timed = frontier_table(result, kept_name, PAGE_WIDTH)
    scores = score_table(result, kept_name, PAGE_WIDTH)
    notes = [as_sentence(tuning_headline(result)), tuning_note(result, PAGE_WIDTH)]
    failed = len(report["failed"])
    clips = f"{result.num_clips}, {failed} more failed" if failed else str(result.num_clips)
    return BenchPage(
        title="How this model merges best",
        lead="Scores of tokens, layers and amounts of merging were tried on videos that need no "
        "labels. Drift is how far an answer moves from the unmerged model's: 0 is none. The best "
        "were timed in turn with the unmerged model; the paper's setting, ToMe and random "
        "dropping stand beside them.",
        verdict=_verdict(result),
        command=report["environment"]["command"],
        facts=[
            ("videos", clips),
            ("target", str(result.target)),
            *environment_facts(report["environment"]),
        ],
        tables=[
            page_table(timed, "What was timed, fastest first", "setting", notes),
            page_table(scores, "Each score in its best layers, at one budget", "score"),
        ],
    )


def _verdict(result: TuneResult) -> str:
    row = result.nearest if result.chosen is None else result.chosen
    figures = f"{row.speedup:.2f}x as fast with drift {row.drift:.2g}"
    figures += f" and {row.flop_ratio:.0%} of the FLOPs"
    if result.chosen is None:
        return f"Nothing reaches {result.target}; the nearest, {row.name}, is {figures}."
    return f"Chosen: {row.name}, in layers {layer_span(row.layers)}. It is {figures}."
