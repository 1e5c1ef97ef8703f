"""Similarity, score and mass stay in float32 where OpenVINO lowers the precision of the rest.

On processors without bfloat16 OpenVINO runs float32 whatever it is asked for: there only the marks
can be tested, and that they change nothing.
"""

from pathlib import Path
from typing import Any

import pytest
import torch
from support.exported_models import CASES
from support.exporters import dynamic_batch
from support.tiny_models import clips, videomae
from torch import nn

import vidtldr

pytestmark = pytest.mark.export
openvino = pytest.importorskip(
    "openvino", reason="openvino is in the environment of `make test-export`"
)

from vidtldr.export import keep_float32  # noqa: E402

MARK = "DisablePrecisionConversion_0"


def converted(model: nn.Module) -> Any:
    with torch.no_grad():
        return openvino.convert_model(model, example_input={"pixel_values": clips()})


def marked(model: Any) -> list[Any]:
    return [node for node in model.get_ordered_ops() if MARK in node.get_rt_info()]


def test_what_chooses_pairs_and_weighs_tokens_is_marked_and_no_layer_is(tmp_path: Path) -> None:
    model = videomae(num_hidden_layers=3)
    merging = converted(vidtldr.apply_patch(model, r=[9, 5], score="sharpness"))
    kept = keep_float32(merging)
    assert not marked(merging)
    found = [node.get_type_name() for node in marked(kept)]
    # In each of two layers: similarities and logits, the softmax that is scored, and the choice.
    assert (found.count("MatMul"), found.count("Softmax"), found.count("Log")) == (4, 2, 2)
    nodes = kept.get_ordered_ops()
    assert found.count("TopK") == sum(node.get_type_name() == "TopK" for node in nodes)
    for node in marked(kept):
        if node.get_type_name() == "MatMul":  # no linear layer
            inputs = [value.get_node().get_type_name() for value in node.input_values()]
            assert "Constant" not in inputs
    openvino.save_model(kept, tmp_path / "model.xml")
    assert len(marked(openvino.Core().read_model(tmp_path / "model.xml"))) >= len(found)


@pytest.mark.parametrize("name", ["VideoMAE", "V-JEPA 2", "TimeSformer", "SigLIP by mass"])
@pytest.mark.parametrize("precision", ["f32", "bf16"])
def test_a_marked_model_computes_the_same(name: str, precision: str) -> None:
    case = CASES[name]
    model = vidtldr.apply_patch(case.build(), r=[5, 4], **case.config)
    inputs = case.inputs(2, 0)
    with torch.no_grad():
        merging = openvino.convert_model(model, example_input=inputs)
    outputs = []
    for each in (merging, keep_float32(merging)):
        hint = {"INFERENCE_PRECISION_HINT": precision}
        compiled = openvino.compile_model(each, "CPU", hint)
        outputs.append(compiled([x.numpy() for x in inputs.values()]))
    lowers = "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    if precision == "bf16" and lowers:
        assert torch.from_numpy(outputs[1][0]).isfinite().all()
        return
    for one, other in zip(outputs[0].values(), outputs[1].values(), strict=True):
        torch.testing.assert_close(
            torch.from_numpy(one), torch.from_numpy(other), rtol=1e-5, atol=1e-5
        )


@pytest.mark.parametrize("name", ["VideoMAE", "V-JEPA 2", "SigLIP by mass"])
@pytest.mark.parametrize("by", ["trace", "program"])
def test_marked_nodes_run_in_float32(name: str, by: str) -> None:
    """In particular softmax and norms, whose marks the plugin would lose."""
    if "BF16" not in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        pytest.skip("this processor has no bfloat16")
    case = CASES[name]
    fields = {"score": "sharpness", **case.config}
    model, inputs = vidtldr.apply_patch(case.build(), r=[5, 4], **fields), case.inputs(2, 0)
    with torch.no_grad():
        if by == "trace":
            merging = openvino.convert_model(model, example_input=inputs)
        else:
            shapes = dynamic_batch(inputs)
            program = torch.export.export(model, (), inputs, dynamic_shapes=shapes)
            merging = openvino.convert_model(program)
    hint = {"INFERENCE_PRECISION_HINT": "bf16"}
    kept = openvino.compile_model(keep_float32(merging), "CPU", hint)
    found = dict.fromkeys(("TopK", "Softmax"), 0)
    for node in kept.get_runtime_model().get_ordered_ops():
        about = node.get_rt_info()
        kind = about["layerType"]
        if kind in found and node.get_output_size():
            found[kind] += about["runtimePrecision"] == "f32"
            assert about["runtimePrecision"] in ("f32", "i32")
    assert found["TopK"] >= 4
    assert found["Softmax"] >= 2


def test_a_model_without_merging_is_refused() -> None:
    with pytest.raises(ValueError, match="model must be an exported model that merges tokens"):
        keep_float32(converted(videomae(num_hidden_layers=2)))
