"""Changes that a walked block would bypass are refused before they give a wrong answer."""

import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch
from support.tiny_models import clips, spread_out_weights, videomae, vivit
from support.tiny_umt import TINY
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle
from transformers.models.videomae.modeling_videomae import VideoMAELayer, VideoMAESelfAttention

import vidtldr
from vidtldr.hosts.registry import find_host
from vidtldr.models.umt.vision import VideoFeatures, VisionEncoder

R = [0, 9, 5]


class OwnLayer(VideoMAELayer):
    def forward(self, hidden_states: Tensor, **kwargs: object) -> Tensor:
        return 2 * super().forward(hidden_states, **kwargs)


class OwnAttention(VideoMAESelfAttention):
    pass


@pytest.mark.parametrize("replace", ["layer", "attention"])
def test_a_subclass_inside_is_refused(replace: str) -> None:
    model = videomae()
    layer = model.videomae.encoder.layer[2]
    if replace == "layer":
        layer.__class__ = OwnLayer
    else:
        layer.attention.attention.__class__ = OwnAttention
    with pytest.raises(NotImplementedError, match=r"got .*Own(Layer|Attention) in block 2"):
        vidtldr.apply_patch(model, r=R)


def test_an_exchanged_forward_inside_the_attention_is_refused() -> None:
    model = vivit()
    model.vivit.layers[1].attention.forward = lambda *a, **k: None
    with pytest.raises(NotImplementedError, match="block 1: VivitAttention must have its class's"):
        vidtldr.apply_patch(model, r=R)


def test_a_hook_that_would_never_fire_is_refused() -> None:
    model = vivit()
    model.vivit.layers[2].attention.register_forward_hook(lambda *_: None)
    with pytest.raises(
        NotImplementedError, match="block 2: VivitAttention must have no forward or backward hooks"
    ):
        vidtldr.apply_patch(model, r=R)
    vidtldr.apply_patch(model, r=[0, 0, 0, 5])  # before the first merge nothing is walked around


def umt() -> nn.Module:
    return spread_out_weights(VisionEncoder(TINY))


HOOKS: list[Callable[[nn.Module], RemovableHandle]] = [
    lambda module: module.register_forward_hook(lambda *_: None),
    lambda module: module.register_forward_hook(lambda *_, **__: None, with_kwargs=True),
    lambda module: module.register_forward_pre_hook(lambda *_: None),
    lambda module: module.register_full_backward_hook(lambda *_: None),
    lambda module: module.register_full_backward_pre_hook(lambda *_: None),
]


@pytest.mark.parametrize("register", HOOKS)
@pytest.mark.parametrize("build", [videomae, vivit, umt])
def test_a_hook_set_after_patching_is_noticed_by_the_next_forward(
    build: Callable[[], nn.Module], register: Callable[[nn.Module], RemovableHandle]
) -> None:
    model = build()
    host = find_host(model)
    vidtldr.apply_patch(model, r=[0, 5])
    pixel_values = clips()[:, :3, :, :12, :12] if build is umt else clips()
    expected = first_of(model(pixel_values))
    for bypassed in host.walked_around(host.blocks[1]).values():
        if bypassed is host.blocks[1]:
            continue
        handle = register(bypassed)
        with pytest.raises(NotImplementedError, match="must have no forward or backward hooks, go"):
            model(pixel_values)
        handle.remove()
        assert torch.equal(first_of(model(pixel_values)), expected)


def first_of(output: Any) -> Tensor:
    return next(iter(output)) if isinstance(output, VideoFeatures) else output.logits


@pytest.mark.parametrize("build", [videomae, vivit, umt])
def test_a_forward_replaced_after_patching_is_noticed_by_the_next_forward(
    build: Callable[[], nn.Module],
) -> None:
    model = build()
    host = find_host(model)
    vidtldr.apply_patch(model, r=[0, 5])
    *_, bypassed = host.walked_around(host.blocks[1]).values()
    bypassed.forward = lambda *_, **__: None
    with pytest.raises(NotImplementedError, match=r"block 1: .* must have its class's own fo"):
        model(clips()[:, :3, :, :12, :12] if build is umt else clips())


def test_a_hook_set_after_patching_is_noticed_when_the_model_is_compiled() -> None:
    """One set after compiling is ignored by torch itself, merged or not."""
    model = vidtldr.apply_patch(videomae(num_hidden_layers=2), r=[5])
    model.videomae.encoder.layer[0].attention.register_forward_hook(lambda *_: None)
    with pytest.raises(Exception, match="must have no forward or backward hooks"):
        torch.compile(model, backend="eager", fullgraph=True)(pixel_values=clips())


def test_the_recording_hooks_of_transformers_are_no_reason_to_refuse() -> None:
    model = videomae()
    with torch.no_grad():
        model(pixel_values=clips(), output_hidden_states=True)
    vidtldr.apply_patch(model, r=R)


def test_a_block_that_layers_share_is_refused() -> None:
    model = videomae()
    layers = model.videomae.encoder.layer
    for i in range(1, 4):
        layers[i] = layers[0]
    with pytest.raises(NotImplementedError, match="model must have a block of its own in each"):
        vidtldr.apply_patch(model, r=[0, 0, 5])


def test_functions_that_take_a_model_refuse_what_is_none() -> None:
    with pytest.raises(TypeError, match=r"a torch module or a pipeline .*, got str"):
        vidtldr.remove_patch("x")
    for manager in (vidtldr.trace("x"), vidtldr.patched("x", r=R)):
        with (
            pytest.raises(TypeError, match=r"a torch module or a pipeline .*, got str"),
            manager,
        ):
            pass


def test_a_merging_block_takes_its_input_by_name_too() -> None:
    model = vidtldr.apply_patch(videomae(), r=[9])
    block = model.videomae.encoder.layer[0]
    x = torch.randn(1, 48, 48)
    with torch.no_grad():
        assert torch.equal(block(hidden_states=x), block(x))


def run(model: nn.Module) -> None:
    with torch.no_grad():
        model(pixel_values=clips())


def test_traces_may_be_nested_and_see_a_patch_that_comes_later() -> None:
    model = videomae()
    with vidtldr.trace(model) as outer:
        vidtldr.apply_patch(model, r=R)
        with vidtldr.trace(model) as inner:
            run(model)
        assert torch.equal(outer.mass, inner.mass)
        with vidtldr.patched(model, r=[4]):
            run(model)
    assert outer.num_tokens == [44] * 4
    assert outer.mass.shape == (2, 44)
    assert inner.num_tokens == [48, 39, 34, 34]


def test_a_trace_sees_its_own_thread_alone() -> None:
    model = vidtldr.apply_patch(videomae(), r=R)
    failures: list[BaseException] = []
    done = threading.Event()

    def other() -> None:
        try:
            while not done.is_set():
                run(model)
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=other)
    thread.start()
    with torch.no_grad():
        for batch in (1, 3) * 10:
            with vidtldr.trace(model) as trace:
                model(pixel_values=clips(batch))
            assert trace.mass.shape == (batch, 34)
            assert trace.source.shape == (batch, 48)
    done.set()
    thread.join()
    assert not failures


def test_a_trace_of_half_a_forward_is_an_error() -> None:
    model = vidtldr.apply_patch(videomae(), r=R)
    model.videomae.encoder.layer[2].register_forward_pre_hook(lambda *_: 1 / 0)
    with vidtldr.trace(model) as trace, pytest.raises(ZeroDivisionError):
        run(model)
    with pytest.raises(RuntimeError, match=r"whole forward, got 2 of 4 layers"):
        _ = trace.num_tokens


def test_an_exception_inside_patched_is_not_hidden_by_a_compiled_model() -> None:
    model = videomae()

    def compile_and_fail() -> None:
        with vidtldr.patched(model, r=R):
            model.compile()
            raise KeyError

    with pytest.raises(KeyError):
        compile_and_fail()
