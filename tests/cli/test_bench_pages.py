"""What pages of benchmarks say of made-up results; that commands write them is tested there."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest
from support.made_up_result import made_up_result

from vidtldr.bench.merging_methods import DEFAULT
from vidtldr.bench.pareto import quality_plot
from vidtldr.bench.quality_result import spread
from vidtldr.bench.resident import MemoryRow
from vidtldr.bench.roofline import Ceilings
from vidtldr.bench.saliency_quality import SaliencyResult, SaliencyRow
from vidtldr.bench.scaling import ScalingRow
from vidtldr.bench.speed import Setting, SpeedRow
from vidtldr.cli.bench.pages import (
    hand_over,
    latency_page,
    memory_page,
    missing_extras,
    quality_page,
    saliency_page,
)
from vidtldr.cli.bench.quality_tables import quality_notes
from vidtldr.cli.bench.tables import latency_doubts
from vidtldr.cli.output_options import ResultOptions
from vidtldr.measure.busyness import BusyReport

ENVIRONMENT = {
    "command": "vidtldr bench",
    "commit": "abc with changes",
    "date": "2026-01-01",
    "device": "a device",
    "num_threads": 2,
    "platform": "an OS",
    "python": "3.11",
    "versions": {"vidtldr": "1", "torch": "2", "transformers": None},
}
REPORT = {
    "environment": ENVIRONMENT,
    "model": "umt-b16",
    "not_measured": [],
    "weights": {"file": "bundled"},
    "options": {"num_clips": 4, "split": "test", "seeds": [0, 1]},
}
SETTINGS = [Setting(1, "float32", 12, 224), Setting(8, "float32", 12, 224)]


def speed_row(variant: str, setting: Setting, median: float) -> SpeedRow:
    speed = 30 / median
    ratios = {"median": speed, "lowest": 0.99 * speed, "highest": 1.01 * speed}
    return SpeedRow(variant, setting, 10**9, None, None, (median,), ratios, None, 0.1, None)


def test_a_page_says_what_was_not_measured() -> None:
    failed = {"what": "batch 8", "error": "too little memory"}
    rows = [speed_row("unmerged", SETTINGS[0], 30)]
    page = latency_page(REPORT | {"not_measured": [failed]}, rows, {}, {})
    assert page.facts[-1] == ("not measured", "batch 8: too little memory")


def test_where_and_when_it_was_run_is_said() -> None:
    page = quality_page(REPORT, made_up_result())
    assert page.command == "vidtldr bench"
    assert page.facts == [
        ("weights", "bundled"),
        ("device", "a device, 2 threads"),
        ("platform", "an OS, Python 3.11"),
        ("versions", "vidtldr 1, torch 2"),
        ("date", "2026-01-01"),
        ("commit", "abc with changes"),
    ]
    outside_git = {**REPORT, "environment": ENVIRONMENT | {"commit": None}}
    assert len(quality_page(outside_git, made_up_result()).facts) == 5


def test_quality_says_what_the_default_keeps_and_every_number() -> None:
    result = made_up_result()
    page = quality_page(REPORT, result)
    assert page.verdict == (
        "With 60% of the operations, R@1 of the default is 89.5 % against 90.0 % unmerged, a "
        "change of -0.5 ± 0.4 points, within noise; it runs 1.67x as fast."
    )
    recall, answers, labels, everything = page.tables
    assert recall.columns == ["method", "layers", "0.8", "0.6"]
    assert ("random dropping", "2-4", "+10.0 ±0.4*^", "-") in recall.rows
    assert (answers.title, labels.title) == (
        "Change of hard answers at each share of the FLOPs",
        "Change of hard labels at each share of the FLOPs",
    )
    assert [recall.rows[number][0] for number in recall.strong_rows] == [DEFAULT, "paper's setting"]
    assert everything.columns[3:5] == ["text to video", "video to text"]
    assert not any("t>v" in note for note in everything.notes)
    assert all(len(row) == len(table.columns) for table in page.tables for row in table.rows)


def test_quality_without_the_default_and_speed_speaks_of_the_first_method() -> None:
    result = made_up_result()
    rows = [replace(row, timing=None) for row in result.rows if row.method != DEFAULT]
    page = quality_page(REPORT, replace(result, rows=tuple(rows)))
    assert page.verdict.startswith("With 60% of the operations, R@1 of paper's setting is 84.0")
    assert "as fast" not in page.verdict


def test_saliency_names_the_best_score_of_either_sign() -> None:
    rows = [
        SaliencyRow(layer, score, *(spread([each]) for each in (auroc, 1 - auroc, 0.5, 0.25)))
        for layer, score, auroc in ((0, "sharpness", 0.8), (1, "sharpness", 0.1))
    ]
    result = SaliencyResult(tuple(rows), spread([0.09]), 8)
    page = saliency_page(REPORT, {"a.pt": result, "b.pt": result})
    assert "Best of all: minus sharpness in layer 1" in page.verdict
    assert "90% of the time" in page.verdict
    assert page.facts[0] == ("clips", "4 test clips of each of the seeds 0, 1")
    titles = [table.title for table in page.tables]
    assert titles[0] == "a.pt: AUROC"
    assert len(titles) == len(set(titles)) == 6
    assert page.tables[0].rows == [("sharpness", "0.80 ±0.00", "0.10 ±0.00")]


def test_latency_says_how_fast_merged_is_at_one_setting_or_several() -> None:
    rows = [
        speed_row(variant, SETTINGS[0], ms) for variant, ms in (("unmerged", 30), ("merged", 20))
    ]
    ceilings = {"float32": Ceilings(1e12, 1e11, 2048, 2**28)}
    curves = {"float32": [ScalingRow("SDPA", 64, (9.0,), 2**20, {})]}
    page = latency_page(REPORT, rows, curves, ceilings)
    assert page.verdict == "Merged, a forward takes 20.0 ms instead of 30.0 ms: 1.50x as fast."
    times, curve = page.tables
    assert times.title == "Batch 1, float32, 12 x 224²"
    assert times.rows[1][:3] == ("merged", "20.0", "1.50x")
    assert "1 TFLOP/s in a product" in times.notes[0]
    assert curve.rows == [("64", "9 (1)")]
    rows += [
        speed_row(variant, SETTINGS[1], ms) for variant, ms in (("unmerged", 30), ("merged", 15))
    ]
    several = latency_page(REPORT, rows, {}, {})
    assert several.verdict == "Merged is 1.50x to 2.00x as fast as unmerged, over 2 settings."
    assert len(several.tables) == 2
    without = [row for row in rows if row.variant != "merged"]
    assert latency_page(REPORT, without, {}, {}).verdict == ""


def test_latency_says_why_merging_gains_nothing_and_that_the_machine_was_busy() -> None:
    rows = [
        speed_row(variant, SETTINGS[0], ms) for variant, ms in (("unmerged", 30), ("merged", 40))
    ]
    [doubt] = latency_doubts(rows)
    assert doubt.startswith("merged: slower, 0.75x as fast; merging removes 0 % of the FLOPs")
    page = latency_page(REPORT, rows, {}, {})
    assert page.verdict.endswith("40.0 ms instead of 30.0 ms: 0.75x as fast.")
    assert "0.75x as fast; merging removes" in page.tables[0].notes[0]
    unclear = replace(rows[1], speedup={"median": 0.99, "lowest": 0.9, "highest": 1.1})
    page = latency_page(REPORT, [rows[0], unclear], {}, {})
    assert page.tables[0].rows[1][2] == "~0.99x"
    assert page.verdict.endswith("no measurable difference in time (0.90x to 1.10x).")
    busy = [replace(row, busy=BusyReport(0.5, True)) for row in rows]
    [doubt] = latency_doubts(busy)
    assert doubt.startswith("note: other programs used 50 % of the processor")
    assert busy[0].to_dict()["machine_was_busy"] is True
    assert "busy" not in busy[0].to_dict()


def test_quality_marks_speeds_and_says_what_the_slowest_method_costs() -> None:
    result = made_up_result()
    assert not [note for note in quality_notes(result, 80) if "as fast" in note]
    timing = {
        "clips_per_second": 8.0,
        "unmerged_clips_per_second": 10.0,
        "speedup": 0.8,
        "lowest_speedup": 0.7,
        "highest_speedup": 0.9,
    }

    def notes_with(**changes: float) -> list[str]:
        rows = [
            replace(row, timing=timing | changes if row.method == DEFAULT else None)
            for row in result.rows
        ]
        return list(quality_notes(replace(result, rows=tuple(rows)), 80))

    assert "slower, 0.80x as fast; merging removes 40 % of the FLOPs" in notes_with()[-1]
    assert "~ no measurable difference" in notes_with(highest_speedup=1.1)[-1]
    assert "other programs used 50 %" in notes_with(machine_was_busy=True, other_share=0.5)[-1]


@pytest.mark.parametrize(
    ("peaks", "unmerged", "verdict"),
    [
        ([2], 4, "Merged needs 50% of what unmerged needs."),
        ([2, 3], 4, "Merged needs 50% to 75% of what unmerged needs."),
        ([2], 0, ""),
    ],
)
def test_memory_says_how_much_merged_needs(peaks: list[int], unmerged: int, verdict: str) -> None:
    rows = [
        MemoryRow("merged", setting, (peak,), (unmerged,))
        for setting, peak in zip(SETTINGS, peaks, strict=False)
    ]
    assert memory_page(REPORT, rows).verdict == verdict


@pytest.mark.parametrize(("blocked", "extra"), [("matplotlib", "plots"), ("jinja2", "report")])
def test_what_cannot_be_made_is_said_before_the_work_and_the_rest_is_there(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    blocked: str,
    extra: str,
) -> None:
    monkeypatch.setitem(sys.modules, blocked, None)
    wanted = ResultOptions(tmp_path / "a.json", tmp_path / "a.png", tmp_path / "a.html")
    missing = missing_extras(wanted)
    assert missing == {extra}
    assert f"pip install 'vidtldr[{extra}]'" in capsys.readouterr().err
    result = made_up_result()
    hand_over(REPORT, wanted, missing, quality_plot(result), quality_page(REPORT, result))
    there = {"a.json", "a.html"} if extra == "plots" else {"a.json", "a.png", "a.svg"}
    assert {file.name for file in tmp_path.iterdir()} == there


def test_nothing_is_needed_where_nothing_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("matplotlib", "jinja2"):
        monkeypatch.setitem(sys.modules, name, None)
    assert missing_extras(ResultOptions(output=Path("a.json"))) == frozenset()
    assert missing_extras(ResultOptions(plot=Path("a.png"))) == {"plots"}


def test_without_a_budget_that_is_reached_the_notes_say_so() -> None:
    result = made_up_result()
    rows = tuple(row for row in result.rows if row.unreachable)
    notes = list(quality_notes(replace(result, rows=rows), 80))
    assert notes[1] == "-: these layers cannot reach the budget"
    assert "measuring took 83 min of processor time, interrupted runs included" in notes
