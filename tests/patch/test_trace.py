from collections.abc import Callable

import pytest
import torch
from support.tiny_models import clips, videomae, vivit
from torch import nn

import vidtldr
from vidtldr.method.saliency import masked_saliency


def run(model: nn.Module, batch: int = 2) -> None:
    with torch.no_grad():
        model(pixel_values=clips(batch))


@pytest.mark.parametrize(("build", "prefix"), [(videomae, 0), (vivit, 1)])
def test_the_trace_says_what_was_merged(build: Callable[..., nn.Module], prefix: int) -> None:
    model = vidtldr.apply_patch(build(), r=[0, 9, 5], score="sharpness")
    with vidtldr.trace(model) as trace:
        run(model)
    assert trace.num_tokens == [48 + prefix, 39 + prefix, 34 + prefix, 34 + prefix]
    assert trace.mass.shape == (2, 34 + prefix)
    assert trace.source.shape == (2, 48 + prefix)
    assert trace.source.dtype == torch.int64
    assert {layer: s.shape for layer, s in trace.saliency.items()} == {1: (2, 48), 2: (2, 39)}
    assert trace.mass[:, :prefix].eq(1).all()
    assert torch.equal(trace.source[:, :prefix], torch.arange(prefix).expand(2, -1))
    assert sorted(set(trace.source[0].tolist())) == list(range(34 + prefix))  # every place is taken
    assert list(trace.layers) == [1, 2]


def test_mass_is_what_the_original_tokens_still_count_for() -> None:
    model = vidtldr.apply_patch(videomae(), r=[15, 9, 5], score="sharpness")
    with vidtldr.trace(model) as trace:
        run(model)
    counted = torch.zeros_like(trace.mass).scatter_add_(1, trace.source, trace.source_weight)
    assert torch.allclose(counted, trace.mass, atol=1e-5)
    assert trace.source_weight.eq(0).any()
    assert trace.source_weight.le(1).all()


def test_each_merging_layer_keeps_what_a_picture_needs() -> None:
    model = vidtldr.apply_patch(videomae(), r=[15, 0, 5], score="sharpness")
    with vidtldr.trace(model) as trace:
        run(model)
    first, third = trace.layers[0], trace.layers[2]
    assert first.source.shape == third.source.shape == (2, 48)
    assert first.mass.shape == (2, 33)
    assert third.weights.shape == (2, 33)
    assert torch.allclose(masked_saliency(first.saliency), first.weights, atol=1e-5)
    assert torch.equal(third.source, trace.source)


def test_without_a_score_there_is_no_saliency_and_nothing_is_dropped() -> None:
    model = vidtldr.apply_patch(videomae(), r=[15, 5], score=None)
    with vidtldr.trace(model) as trace:
        run(model)
    assert trace.saliency == {}
    assert trace.source_weight.eq(1).all()
    assert torch.allclose(trace.mass.sum(dim=1), torch.full((2,), 48.0))


def test_a_model_that_does_not_merge_can_be_traced() -> None:
    model = vivit()
    with vidtldr.trace(model) as trace:
        run(model)
    assert trace.num_tokens == [49] * 4
    assert trace.mass.eq(1).all()
    assert torch.equal(trace.source, torch.arange(49).expand(2, -1))


def test_the_trace_holds_the_last_forward_and_leaves_nothing_behind() -> None:
    model = vidtldr.apply_patch(videomae(), r=[9], score="sharpness")
    with vidtldr.trace(model) as trace:
        run(model, batch=3)
        run(model, batch=1)
    assert trace.mass.shape == (1, 39)
    kept = trace.mass.clone()
    run(model, batch=2)
    assert torch.equal(trace.mass, kept)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_tracing_changes_no_answer() -> None:
    model = vidtldr.apply_patch(videomae(), r=[9, 9], score="sharpness")
    with torch.no_grad():
        plain = model(pixel_values=clips()).logits
        with vidtldr.trace(model):
            assert torch.equal(model(pixel_values=clips()).logits, plain)


def test_unmerging_by_the_trace_brings_back_the_shape_of_the_input() -> None:
    model = vidtldr.apply_patch(videomae(), r=[15, 9], score="sharpness")
    with vidtldr.trace(model) as trace, torch.no_grad():
        hidden = model.videomae(clips()).last_hidden_state
    assert vidtldr.unmerge_tokens(hidden, trace.source).shape == (2, 48, 48)


def test_a_trace_read_too_early_says_so() -> None:
    with vidtldr.trace(videomae()) as trace:
        pass
    with pytest.raises(
        RuntimeError, match=r"trace must be read after a whole forward, got 0 of 4 layers"
    ):
        _ = trace.num_tokens
