"""Merging models go through each exporter's own call, with nothing of this package in between."""

from pathlib import Path

import pytest
import torch
from support.exported_models import CASES, Case, R
from support.exporters import EXPORTERS, flat
from torch import Tensor, nn

import vidtldr

pytestmark = pytest.mark.export
for package in ("onnx", "onnxscript", "onnxruntime", "openvino"):
    pytest.importorskip(package, reason=f"{package} is in the environment of `make test-export`")

#: What an exporter refuses or computes wrongly without merging, too: the reason and what it says.
NOT_EVEN_UNMERGED: dict[tuple[str, str, str], str] = {}
ENGINES = ["torch.export", "onnx", "openvino"]


@pytest.mark.parametrize("batch", ["dynamic", pytest.param("fixed", marks=pytest.mark.slow)])
@pytest.mark.parametrize("exporter", ENGINES)
@pytest.mark.parametrize("name", CASES)
def test_a_merging_model_runs_elsewhere_as_in_torch(
    name: str, exporter: str, batch: str, tmp_path: Path
) -> None:
    case, is_dynamic = CASES[name], batch == "dynamic"
    model = case.build()
    if (name, exporter, batch) not in NOT_EVEN_UNMERGED:
        vidtldr.apply_patch(model, r=R, **case.config)
        assert differs_by(case, model, exporter, is_dynamic, tmp_path) < 1e-4
        return
    try:
        assert differs_by(case, model, exporter, is_dynamic, tmp_path) > 1e-2
    except Exception as error:
        assert NOT_EVEN_UNMERGED[name, exporter, batch] in str(error)


def differs_by(
    case: Case, model: nn.Module, exporter: str, is_dynamic: bool, folder: Path
) -> float:
    """The largest difference of an exported model from torch, relative to outputs above 10."""
    with torch.no_grad():
        run = EXPORTERS[exporter](model, case.inputs(2, 0), is_dynamic, folder)
        differences = [
            difference(run(inputs), flat(model(**inputs)))
            for inputs in (case.inputs(num, 7) for num in ((2, 3, 5) if is_dynamic else (2,)))
        ]
    return max(differences)


def difference(found: list[Tensor], expected: list[Tensor]) -> float:
    assert [x.shape for x in found] == [x.shape for x in expected]
    assert expected
    differences = []
    for x, y in zip(found, expected, strict=True):
        differences.append(((x - y).abs().max() / y.abs().max().clamp_min(10) * 10).item())
    return max(differences)
