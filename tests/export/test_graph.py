"""What is in an exported graph, and that eager and compiled forwards keep their own forms."""

from pathlib import Path
from typing import Any

import pytest
import torch
from support.encoder_oracle import DEFAULT, PAPER, PROTECTED
from support.exporters import dynamic_batch
from support.tiny_models import clips, videomae, vivit
from torch import nn

import vidtldr
from vidtldr.export import merging_by_product
from vidtldr.exporting import is_exporting


def operators_of(model: nn.Module, **config: Any) -> list[str]:
    """Names of the operators of a merging model's exported graph."""
    vidtldr.apply_patch(model, r=[9, 5], **config)
    inputs = {"pixel_values": clips()}
    with torch.no_grad():
        program = torch.export.export(model, (), inputs, dynamic_shapes=dynamic_batch(inputs))
    return operators(program)


def operators(program: torch.export.ExportedProgram) -> list[str]:
    """Names of the operators of a graph."""
    nodes = [node for node in program.graph.nodes if node.op == "call_function"]
    return [str(node.target) for node in nodes]


@pytest.mark.parametrize("config", [DEFAULT, PAPER, PROTECTED], ids=str)
@pytest.mark.parametrize("build", [videomae, pytest.param(vivit, marks=pytest.mark.slow)])
def test_a_graph_holds_torchs_own_operators_and_none_that_exporters_lack(
    build: Any, config: dict[str, Any]
) -> None:
    found = operators_of(build(num_hidden_layers=2), **config)
    assert not [name for name in found if "vidtldr" in name or ".out" in name]
    lacking = {"aten.sort.stable", "aten.argsort.stable", "aten.index_add.default"}
    assert not (lacking | {"aten.median.dim", "aten.median.default"}) & set(found)
    # One a merging layer, and one for its median norm.
    assert found.count("aten.topk.default") == (4 if "spare_norms" in config else 2)


@pytest.mark.slow
def test_an_exported_model_protects_and_spares_as_the_eager_one() -> None:
    model, inputs = vivit(num_hidden_layers=3), {"pixel_values": clips()}
    others = {"pixel_values": torch.cat([clips(seed=3), clips(seed=4)])}
    found = []
    for config in (DEFAULT, PROTECTED):
        vidtldr.apply_patch(model, r=[9, 5], **config)
        with torch.no_grad():
            program = torch.export.export(model, (), inputs, dynamic_shapes=dynamic_batch(inputs))
            found.append(program.module()(**others).logits)
            torch.testing.assert_close(found[-1], model(**others).logits, rtol=0, atol=1e-5)
    assert not torch.allclose(*found, atol=1e-3)


@pytest.mark.slow
def test_the_native_kernel_is_exported_where_it_is_asked_for() -> None:
    found = operators_of(videomae(num_hidden_layers=2), score="sharpness", impl="native")
    assert found.count("vidtldr.native_attention.default") == 2


def test_with_gradients_on_attention_is_in_the_graph_once() -> None:
    model = vidtldr.apply_patch(videomae(num_hidden_layers=2), r=[9, 5], score="sharpness")
    assert next(model.parameters()).requires_grad
    program = torch.export.export(model, (), {"pixel_values": clips()})
    found = [str(node.target) for node in program.graph.nodes]
    assert found.count("aten.softmax.int") == 2
    assert "aten.scaled_dot_product_attention.default" not in found


def test_a_mask_of_the_caller_is_refused_in_an_export() -> None:
    model = vidtldr.apply_patch(vivit(num_hidden_layers=2), r=[9])
    given = {"pixel_values": clips(), "attention_mask": torch.ones(2, 49)}
    with pytest.raises(NotImplementedError, match="attention_mask must be None where tokens merge"):
        torch.export.export(model, (), given)
    torch.export.export(model, (), {"pixel_values": clips()})


@pytest.mark.slow
@pytest.mark.parametrize("config", [DEFAULT, {"output": "grid"}, PAPER], ids=str)
@pytest.mark.parametrize("build", [videomae, vivit])
def test_merging_by_a_product_scatters_no_sums_and_is_the_same(
    build: Any, config: dict[str, Any]
) -> None:
    model = vidtldr.apply_patch(build(num_hidden_layers=3), r=[9, 5], **config)
    inputs = {"pixel_values": clips()}
    with torch.no_grad():
        with merging_by_product():
            program = torch.export.export(model, (), inputs, dynamic_shapes=dynamic_batch(inputs))
        plain = torch.export.export(model, (), inputs, dynamic_shapes=dynamic_batch(inputs))
        by_product, by_sums = operators(program), operators(plain)
        assert not [name for name in by_product if "scatter_add" in name or "index_add" in name]
        assert [name for name in by_sums if "scatter_add" in name]
        others = {"pixel_values": torch.cat([clips(seed=3), clips(seed=4)])}
        found, expected = program.module()(**others).logits, model(**others).logits
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.export
def test_onnx_adds_by_a_product(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx", reason="onnx is in the environment of test-export")
    onnxruntime = pytest.importorskip("onnxruntime")
    model = vidtldr.apply_patch(videomae(num_hidden_layers=3), r=[9, 5])
    path = tmp_path / "model.onnx"
    with torch.no_grad(), merging_by_product():
        torch.onnx.export(
            model, (), path, kwargs={"pixel_values": clips()}, dynamo=True, verbose=False
        )
        expected = model(pixel_values=clips()).logits
    graph = onnx.load(path).graph
    scatters = [node for node in graph.node if node.op_type.startswith("Scatter")]
    assert not [node for node in scatters for each in node.attribute if each.s == b"add"]
    [found] = onnxruntime.InferenceSession(path).run(None, {"pixel_values": clips().numpy()})
    torch.testing.assert_close(torch.from_numpy(found), expected, rtol=1e-5, atol=1e-5)


def test_removing_the_patch_leaves_no_hook() -> None:
    model = vivit(num_hidden_layers=2)
    vidtldr.remove_patch(vidtldr.apply_patch(vidtldr.apply_patch(model, r=[9]), r=[5]))
    assert not any(module._forward_pre_hooks for module in model.modules())


class Asking(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + 1 if is_exporting() else x + 2


def test_compiling_is_not_exporting() -> None:
    x = torch.zeros(2)
    compiled = torch.compile(Asking(), backend="eager", fullgraph=True)
    assert compiled(x).tolist() == [2, 2]
    for strict in (True, False):
        assert torch.export.export(Asking(), (x,), strict=strict).module()(x).tolist() == [1, 1]
    assert torch.jit.trace(Asking(), (x,), check_trace=False)(x).tolist() == [1, 1]
    assert Asking()(x).tolist() == [2, 2]


@pytest.mark.slow
def test_a_strict_export_merges_as_the_model_does() -> None:
    model = vidtldr.apply_patch(vivit(num_hidden_layers=3), r=[9, 5])
    with torch.no_grad():
        program = torch.export.export(model, (), {"pixel_values": clips()}, strict=True)
        found = program.module()(pixel_values=clips(seed=3)).logits
        torch.testing.assert_close(
            found, model(pixel_values=clips(seed=3)).logits, atol=1e-4, rtol=0
        )
