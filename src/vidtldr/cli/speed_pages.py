"""Pages of `vidtldr bench latency` and `bench memory`."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from vidtldr.bench.resident import MemoryRow
from vidtldr.bench.roofline import Ceilings
from vidtldr.bench.scaling import ScalingRow
from vidtldr.bench.speed import SpeedRow
from vidtldr.bench.speed_peers import MERGED, UNMERGED
from vidtldr.cli.page_parts import PAGE_WIDTH, as_sentence, page_table, report_facts
from vidtldr.cli.speed_tables import (
    LATENCY_NOTE,
    ceiling_note,
    latency_table,
    memory_table,
    scaling_headline,
    scaling_table,
)
from vidtldr.visualize.bench_page import BenchPage

__all__ = ["latency_page", "memory_page"]

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
    """Show how long every peer takes.

    Args:
        report: With the environment, the model and what was not measured.
        rows: Of `measure_setting`.
        curves: Of `measure_scaling`, by dtype.
        ceilings: Of `measure_ceilings`, by dtype.
    """
    tables = []
    for setting in dict.fromkeys(row.setting for row in rows):
        table = latency_table(PAGE_WIDTH, [row for row in rows if row.setting == setting])
        ceiling = ceilings.get(setting.dtype)
        notes = [] if ceiling is None else [as_sentence(ceiling_note(ceiling))]
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
    """Show how much memory every peer needs.

    Args:
        report: With the environment, the model and what was not measured.
        rows: Of every peer.
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
    merged = [row for row in rows if row.peer == MERGED]
    if not merged:
        return ""
    unmerged = {row.setting: row for row in rows if row.peer == UNMERGED}
    speeds = [row.speedup["median"] for row in merged]
    if len(merged) == 1:
        before, after = unmerged[merged[0].setting].timing.median_ms, merged[0].timing.median_ms
        times = f"a forward takes {after:.1f} ms instead of {before:.1f} ms"
        return f"Merged, {times}: {speeds[0]:.2f}x as fast."
    return (
        f"Merged is {min(speeds):.2f}x to {max(speeds):.2f}x as fast as unmerged, over "
        f"{len(merged)} settings."
    )


def _memory_verdict(rows: Sequence[MemoryRow]) -> str:
    ratios = [row.ratio for row in rows if row.peer == MERGED and row.ratio is not None]
    if not ratios:
        return ""
    low, high = (f"{ratio:.0%}" for ratio in (min(ratios), max(ratios)))
    return f"Merged needs {low if low == high else f'{low} to {high}'} of what unmerged needs."
