import re
from inspect import signature
from typing import Any

import pytest
import torch
from support.tiny_models import TRANSFORMERS, clips, logits, videomae, vivit
from torch import nn
from torch._dynamo.exc import BackendCompilerFailed
from torch._inductor.exc import InductorError, InvalidCxxCompiler, TritonMissing

import vidtldr
from vidtldr.config import MergeConfig
from vidtldr.ops import cpp_compiler as cpp_compiler_module
from vidtldr.ops.cpp_compiler import cpp_compiler
from vidtldr.patch.compiling import bring_plain_tensors, clear_compiler_errors, compile_model
from vidtldr.patch.twin import merged_twin, twin


@pytest.mark.slow
@pytest.mark.usefixtures("compiler")
@pytest.mark.parametrize("build", [videomae, vivit])
def test_a_compiled_model_is_one_graph_with_the_outputs_of_the_eager_one(build: Any) -> None:
    if build is vivit and TRANSFORMERS < (5, 18):
        pytest.skip("transformers before 5.18 compiles ViViT with a mask")
    model = build(num_hidden_layers=2)
    variants = [twin(model), merged_twin(model, MergeConfig(r=[9, 5]))]
    with torch.inference_mode():
        expected = [variant(pixel_values=clips()).logits for variant in variants]
        compiled = [compile_model(variant)(pixel_values=clips()).logits for variant in variants]
    torch.testing.assert_close(compiled, expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("build", [videomae, vivit])
def test_a_patched_model_compiles_to_one_graph(build: Any) -> None:
    if build is vivit and TRANSFORMERS < (5, 18):
        with pytest.raises(Exception, match=r"and before 5\.18 in torch\.compile"):
            logits(torch.compile(vidtldr.apply_patch(build(), r=[0, 9, 5]), fullgraph=True))
        return
    model = vidtldr.apply_patch(build(num_hidden_layers=3), r=[0, 9, 5])
    expected = logits(model)
    assert torch.allclose(logits(torch.compile(model, fullgraph=True)), expected, atol=1e-3)


@pytest.mark.usefixtures("compiler")
def test_a_compiled_copy_leaves_the_model_as_it_was() -> None:
    model = videomae()
    compile_model(twin(model))
    assert all(module._compiled_call_impl is None for module in model.modules())
    merged_twin(model, MergeConfig(r=[9]))  # so it can still be patched


@pytest.mark.usefixtures("compiler")
def test_what_cannot_be_compiled_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="model must be in evaluation mode to compile, got it tr"):
        compile_model(videomae().train())
    with pytest.raises(ValueError, match="model must be of a known family"):
        compile_model(nn.Linear(2, 2))
    with pytest.raises(ValueError, match="model must not be compiled yet"):
        compile_model(compile_model(videomae()))
    with pytest.raises(NotImplementedError, match="device must be cpu or cuda to compile, got 'm"):
        compile_model(videomae().to("meta"))
    monkeypatch.setattr(cpp_compiler_module.shutil, "which", lambda _: None)
    with pytest.raises(
        ImportError, match=r"`compile` must find the C\+\+ compiler '.*got none\. I"
    ):
        compile_model(videomae())


def test_tensors_that_are_no_buffers_follow_the_weights() -> None:
    model = videomae().to("meta")
    assert model.videomae.embeddings.position_embeddings.device.type == "cpu"
    bring_plain_tensors(model)
    assert model.videomae.embeddings.position_embeddings.is_meta


def test_the_compiler_looked_for_is_the_one_that_torch_takes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert cpp_compiler() == torch._inductor.config.cpp.cxx[1]
    # Another one that is there is no help.
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setattr(cpp_compiler_module.sys, "platform", "linux")
    monkeypatch.setattr(cpp_compiler_module.shutil, "which", {"clang++": "/usr/bin/clang++"}.get)
    with pytest.raises(ImportError, match=r"the C\+\+ compiler 'g\+\+' .* got none"):
        compile_model(videomae())
    monkeypatch.setenv("CXX", "clang++")
    compile_model(videomae())


def no_cxx_compiler() -> InvalidCxxCompiler:
    """Torch before 2.13 names the compilers of its config and takes no name."""
    takes_name = "compiler" in signature(InvalidCxxCompiler).parameters
    return InvalidCxxCompiler("cc") if takes_name else InvalidCxxCompiler()


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (BackendCompilerFailed(print, OSError("no such tool\nmore"), None), "no such tool"),
        (InductorError(no_cxx_compiler(), None), str(no_cxx_compiler())),
        (TritonMissing(None), "Cannot find a working triton installation. "),
    ],
)
def test_whatever_torchs_compilers_raise_becomes_what_to_do(error: Exception, reason: str) -> None:
    with (
        pytest.raises(ImportError, match=re.escape(f"got an error from torch's: {reason}")),
        clear_compiler_errors(),
    ):
        raise error


def test_other_errors_of_compiling_pass_as_they_are() -> None:
    mistake = InductorError(RuntimeError("missing lowering"), None)
    with pytest.raises(InductorError) as raised, clear_compiler_errors():
        raise mistake
    assert raised.value is mistake
    no_room = InductorError(torch.OutOfMemoryError("no room"), None)
    with pytest.raises(torch.OutOfMemoryError, match="no room"), clear_compiler_errors():
        raise no_room


@pytest.mark.slow
@pytest.mark.usefixtures("compiler")
def test_more_models_of_a_family_compile_than_torch_recompiles_one() -> None:
    for _ in range(torch._dynamo.config.recompile_limit + 1):
        model = videomae(num_hidden_layers=1)
        with torch.inference_mode():
            expected = model(pixel_values=clips()).logits
            found = compile_model(model)(pixel_values=clips()).logits
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)
