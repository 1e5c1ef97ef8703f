"""The README's blocks, from made-up reports."""

import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from bench.made_up_result import made_up_result

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = {
    "device": "a device",
    "num_threads": 2,
    "versions": {"torch": "2.0"},
    "date": "2026-01-01",
    "command": "vidtldr bench quality",
}


@pytest.fixture
def tables() -> ModuleType:
    script = ROOT / "benchmarks" / "write_readme_table.py"
    spec = importlib.util.spec_from_file_location("write_readme_table", script)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def written(path: Path, report: dict[str, Any]) -> Path:
    path.write_text(json.dumps({"environment": ENVIRONMENT, **report}))
    return path


def test_quality_has_a_line_for_each_method_and_placement(
    tables: ModuleType, tmp_path: Path
) -> None:
    tables.QUALITY = written(tmp_path / "03_quality.json", made_up_result().to_dict())
    text = tables.quality()
    assert "![Recall against FLOPs and speed](benchmarks/results/03_quality.svg)" in text
    assert "| vid-TLDR | 0, 1, 2 | 88.0 ± 1.0 | 85.0 ± 1.0 |" in text
    assert "| random dropping | 2, 3, 4 | 100.0 ± 1.0 | - |" in text
    assert (
        "| vid-TLDR | 0, 1, 2 | 0.60 | 85.0 ± 1.0 | 85.0 ± 1.0 | 85.0 ± 1.0 | 85.0 ± 1.0 | 0.985 "
        "| 1.67x |" in text
    )
    assert "| random dropping | 2, 3, 4 | - | - | - | - | - | - | - |" in text
    assert "a device, 2 threads, torch 2.0, 2026-01-01: `vidtldr bench quality`." in text


def test_saliency_has_a_column_for_each_layer(tables: ModuleType, tmp_path: Path) -> None:
    def row(layer: int, score: str) -> dict[str, Any]:
        names = ("auroc", "auroc_negated", "precision", "precision_negated")
        figures = zip(names, (0.25, 0.75, 0.1, 0.3), strict=True)
        return {"layer": layer, "score": score, **{name: {"mean": mean} for name, mean in figures}}

    rows = [row(layer, score) for layer in (0, 1) for score in ("sharpness", "rollout")]
    model = {"weights": {"file": "a/b.pt"}, "rows": rows, "foreground": {"mean": 0.09}}
    tables.SALIENCY = written(tmp_path / "03_saliency.json", {"models": [model]})
    text = tables.saliency()
    assert "| weights | score | layer 0 | layer 1 |" in text
    assert "| b | sharpness | 0.25 (0.30) | 0.25 (0.30) |" in text
    assert "chance has 0.09" in text


def test_what_is_not_measured_is_not_shown(tables: ModuleType, tmp_path: Path) -> None:
    tables.QUALITY = tables.SALIENCY = tmp_path / "nothing.json"
    assert tables.quality() == "Not measured yet: `vidtldr bench quality`."
    assert tables.saliency() == "Not measured yet: `vidtldr bench saliency`."
