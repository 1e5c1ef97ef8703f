"""The generated blocks of README.md and docs/, from made-up reports."""

import json
import runpy
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from support.made_up_dense import made_up_dense
from support.made_up_result import made_up_result, made_up_row

from vidtldr.bench.merging_methods import DEFAULT, VID_TLDR
from vidtldr.bench.outcomes import Difference
from vidtldr.bench.quality import FIGURES
from vidtldr.bench.quality_result import Row

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
ENVIRONMENT = {
    "device": "a device",
    "num_threads": 2,
    "versions": {"torch": "2.0"},
    "date": "2026-01-01",
    "command": "vidtldr bench quality",
}


@pytest.fixture(autouse=True)
def _tables_can_be_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where results are read from."""
    from doc_tables import gpu, machines, results

    monkeypatch.setattr(results, "RESULTS", tmp_path)
    monkeypatch.setattr(gpu, "RESULTS", tmp_path)
    monkeypatch.setattr(gpu, "FOLDER", tmp_path / "gpu")
    monkeypatch.setattr(machines, "NEVER_SLOWER", tmp_path / "never_slower")
    return tmp_path


@pytest.fixture
def script() -> SimpleNamespace:
    return SimpleNamespace(**runpy.run_path(str(BENCHMARKS / "write_tables.py")))


def write(path: Path, report: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"environment": ENVIRONMENT, **report}))


def test_quality_has_a_line_for_each_method_and_placement(folder: Path) -> None:
    from doc_tables.quality import quality

    write(folder / "03_quality.json", {**made_up_result().to_dict(), "dtype": "float32"})
    text = quality()
    assert "![Recall against FLOPs](quality.svg)" in text
    assert "| default |  | -0.2 ± 0.4 | **-0.5 ± 0.4** |" in text
    assert "| vid-TLDR | 0, 1, 2 | -2.0 ± 0.4 \\* | -5.0 ± 0.4 \\* |" in text
    assert "| random dropping | 2, 3, 4 | **+10.0 ± 0.4** \\* | - |" in text
    levels = "85.0 \\* | " * 6
    assert f"| vid-TLDR | 0, 1, 2 | 0.60 | {levels}0.985 | 1.67x |" in text
    assert "Measuring took 1.4 hours of processor time." in text
    assert "a device, 2 threads, torch 2.0, 2026-01-01: `vidtldr bench quality`." in text


def test_findings_claim_nothing_within_noise(folder: Path) -> None:
    from doc_tables.quality_findings import against_tome, findings

    def found(method: str, budget: float, change: float, over: float) -> Row:
        row = made_up_row(method, (0, 1, 2), budget, budget, 90 + change)
        sides = {name: Difference(over, 0.5) for name in FIGURES}
        return replace(row, over_vid_tldr=sides)

    rows = (
        found(VID_TLDR, 0.8, -0.7, 0.0),
        found(VID_TLDR, 0.6, -2.0, 0.0),
        found("ToMe (keys)", 0.8, -1.6, -0.9),
        found("ToMe (keys)", 0.6, -4.0, -2.0),
        found("flatness", 0.8, -0.5, 0.2),
        found("no drop mask", 0.6, -0.5, 1.5),
    )
    write(folder / "03_quality.json", replace(made_up_result(), rows=rows).to_dict())
    text = findings()
    assert (
        "**vid-TLDR** against the unmerged model: R@1 -2.0 ± 0.4 at 0.6, R@1 within noise at 0.8;"
        in text
    )
    assert "**Worse than vid-TLDR beyond noise** (R@1): ToMe (keys) -2.0 ± 0.5 at 0.6." in text
    assert "**Better than vid-TLDR beyond noise** (R@1): no drop mask +1.5 ± 0.5 at 0.6." in text
    assert "**Not told apart from vid-TLDR at any budget** (R@1): flatness." in text
    assert "The default" not in text
    assert against_tome() == (
        "On the bundled model, R@1 of vid-TLDR minus that of ToMe in the same layers is "
        "+0.9 ± 0.5 at 0.8 and +2.0 ± 0.5 at 0.6 of the FLOPs, in points: beyond noise at 0.6."
    )


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            (-0.3, -1.0, -1.7, -1.9),
            "loses 0.3 ± 0.4 points of recall and 1.0 ± 0.4 of answers to hard questions by "
            "default, and 1.7 ± 0.4 and 1.9 ± 0.4 with vid-TLDR",
        ),
        (
            (0.3, 0.04, -1.7, 1.9),
            "gains 0.3 ± 0.4 points of recall and loses 0.0 ± 0.4 of answers to hard questions by "
            "default, and 1.7 ± 0.4 and gains 1.9 ± 0.4 with vid-TLDR",
        ),
    ],
)
def test_losses_and_gains_are_words_and_not_signs(
    folder: Path, changes: tuple[float, ...], words: str
) -> None:
    from doc_tables.quality_findings import in_short

    def found(method: str, recall: float, answers: float) -> Row:
        sides = {"r1": Difference(recall, 0.4), "hard_answers": Difference(answers, 0.4)}
        return replace(made_up_row(method, None, 0.6, 0.6, 90.0), change=sides)

    rows = (found(DEFAULT, *changes[:2]), found(VID_TLDR, *changes[2:]))
    write(folder / "03_quality.json", replace(made_up_result(), rows=rows).to_dict())
    assert in_short() == (
        f"At 0.6 of the FLOPs, the bundled model {words} (3 seeds of 250 clips; "
        "[all methods](docs/quality.md))."
    )


def test_saliency_has_a_column_for_each_layer(folder: Path) -> None:
    from doc_tables.quality import saliency

    def row(layer: int, score: str) -> dict[str, Any]:
        names = ("auroc", "auroc_negated", "precision", "precision_negated")
        figures = zip(names, (0.25, 0.75, 0.1, 0.3), strict=True)
        return {"layer": layer, "score": score, **{name: {"mean": mean} for name, mean in figures}}

    rows = [row(layer, score) for layer in (0, 1) for score in ("sharpness", "rollout")]
    model = {"weights": {"file": "a/b.pt"}, "rows": rows, "foreground": {"mean": 0.09}}
    write(folder / "03_saliency.json", {"models": [model]})
    text = saliency()
    assert "| weights | score | layer 0 | layer 1 |" in text
    assert "| b | sharpness | 0.25 (0.30) | 0.25 (0.30) |" in text
    assert "chance is 0.09" in text


def machine(processor: str, gains: dict[str, float], *, is_native: bool) -> dict[str, Any]:
    def row(name: str, gain: float) -> dict[str, Any]:
        spread = {"median": gain, "lowest": gain - 0.1, "highest": gain + 0.1}
        details = {"input_shape": [1, 12, 3, 224, 224], "r": [600, 200, 100]}
        figures = {"gain": spread, "flop_reduction": 1.7}
        return {"name": name, "figures": figures, "details": details}

    environment = ENVIRONMENT | {"has_native_bfloat16": is_native, "device": "AMD EPYC"}
    rows = [row(name, gain) for name, gain in gains.items()]
    return {"processor": processor, "environment": environment, "rows": rows}


def test_gains_are_ranges_over_machines_and_say_who_emulates_bfloat16(folder: Path) -> None:
    from doc_tables.machines import gains

    old = machine("amd-epyc-7003-avx2", {"umt-b-float32": 1.5}, is_native=False)
    new = {"umt-b-float32": 1.8, "umt-b-bfloat16": 2.0, "umt-b-default-float32": 1.6}
    write(folder / "never_slower" / "a.json", old)
    write(
        folder / "never_slower" / "b.json",
        machine("intel-xeon-emerald-rapids-amx", new, is_native=True)
        | {"environment": ENVIRONMENT | {"device": "Intel(R) Xeon(R) Processor"}},
    )
    text = gains()
    start = "| UMT-B, 12 frames of 224² |"
    default = "**1.60x (1.50 to 1.70)** \\* | 1.70x"
    assert f"{start} float32 | {default} | **1.50x to 1.80x** | 1.70x |" in text
    assert f"{start} bfloat16 | - | - | **2.00x (1.90 to 2.10)** \\* | 1.70x |" in text
    assert "Lowest to highest median of AMD EPYC 7003 and Intel Xeon Emerald Rapids;" in text
    assert "bfloat16 is not timed where it is emulated (AMD EPYC 7003)." in text


def test_no_gpu_is_claimed_before_a_file_shows_one(folder: Path) -> None:
    from doc_tables.gpu import gpu

    smoke = {"device": "a CPU", "is_smoke": True}
    write(folder / "gpu" / "smoke" / "environment.json", {"result": smoke})
    assert gpu().startswith("**It has not run on a GPU yet.**")
    found = {"device": "a GPU", "is_smoke": False, "gpu": {"memory_bytes": 1}}
    write(folder / "gpu" / "environment.json", {"result": found})
    assert gpu().startswith("It has run on a GPU;")


def test_a_block_is_written_between_its_markers(
    script: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(script.GENERATED, "gpu", lambda: "new\n")
    page = "before <!-- gpu: start --> old <!-- gpu: end --> after"
    written = script.with_generated(page)
    assert written == "before <!-- gpu: start -->\n\nnew\n\n<!-- gpu: end --> after"
    assert script.with_generated(written) == written


@pytest.mark.parametrize(
    "page",
    [
        "<!-- unknown: start --> <!-- unknown: end -->",
        "<!-- gpu: start -->",
        "<!-- gpu: start --> <!-- gains: end -->",
        "<!-- gpu: end --> <!-- gpu: start -->",
    ],
)
def test_a_marker_that_is_wrong_is_an_error(script: SimpleNamespace, page: str) -> None:
    with pytest.raises(ValueError, match="marker"):
        script.with_generated(page)


@pytest.mark.parametrize("has_masks", [False, True])
def test_dense_outputs_have_a_line_for_each_method_and_placement(
    folder: Path, has_masks: bool
) -> None:
    from doc_tables.dense import dense

    assert dense() == "Not measured yet."
    write(folder / "19_dense.json", made_up_dense(has_masks=has_masks).to_dict())
    text = dense()
    lines = text.splitlines()
    assert "| method | layers | 0.8 | 0.6 | 0.5 | 0.4 |" in lines
    figure = "+1.5 ± 3.6" if has_masks else "0.015 ± 0.036"
    assert f"| vid-TLDR | 3, 4, 5 | {figure} | {figure} | {figure} | - |" in lines
    [at_budget] = [line for line in lines if line.startswith("| vid-TLDR | 0.60 |")]
    accuracy = "+1.5 ± 3.6 | +1.5 ± 3.6 | " if has_masks else ""
    assert at_budget == f"| vid-TLDR | 0.60 | {accuracy}{' | '.join(['0.015 ± 0.036'] * 3)} |"
    assert f"| rollout |{' 0.02 |' * 12}" in lines
    assert ("the masks" if has_masks else "the unmerged map thresholded at 0.5") in text
    assert ("Unmerged: max F 0.015, AUROC 0.015." in text) == has_masks
    assert text.endswith("2026-01-01: `vidtldr bench quality`.")
