"""What wraps a block, or a part of it that merging walks around, is refused and never ignored."""

from collections.abc import Callable
from functools import partial

import pytest
import torch
from support.every_family import FAMILIES, outputs
from support.wrapped_layers import (
    Around,
    R,
    Transparent,
    check_a_wrapper_after_the_patch_is_noticed,
    check_a_wrapper_is_refused,
)
from torch import nn

import vidtldr
from vidtldr.hosts.registry import find_host

every_family = pytest.mark.parametrize("name", FAMILIES)


@every_family
@pytest.mark.parametrize("wrap", [Around, Transparent])
def test_a_wrapper_is_refused(name: str, wrap: Callable[[nn.Module], nn.Module]) -> None:
    check_a_wrapper_is_refused(FAMILIES[name], wrap)


@every_family
@pytest.mark.parametrize("wrap", [Around, Transparent])
def test_a_wrapper_that_comes_after_the_patch_is_noticed_by_the_next_forward(
    name: str, wrap: Callable[[nn.Module], nn.Module]
) -> None:
    check_a_wrapper_after_the_patch_is_noticed(FAMILIES[name], wrap)


@pytest.mark.parametrize("name", ["TimeSformer", "InternVideo2", "InternVideo2, published"])
@pytest.mark.parametrize("patched_first", [False, True])
def test_a_look_at_attention_maps_is_refused(name: str, patched_first: bool) -> None:
    """They do not exist where tokens merge, so what reads or changes them would not run."""
    model, inputs = FAMILIES[name].build(), FAMILIES[name].inputs()
    refused: Callable[[], object] = partial(vidtldr.apply_patch, model, r=R)
    if patched_first:
        vidtldr.apply_patch(model, r=R)
        refused = partial(outputs, model, inputs)
    host = find_host(model)
    (dropout,) = host.not_called(host.blocks[1])
    path = next(path for path, module in model.named_modules() if module is dropout)
    handle = dropout.register_forward_hook(lambda *_: None)
    with pytest.raises(NotImplementedError, match="block 1: Dropout must have no forward or back"):
        refused()
    handle.remove()
    model.set_submodule(path, Transparent(dropout))
    with pytest.raises(NotImplementedError, match=r"attn_drop must be a plain Linear or Dropout"):
        refused()
    model.set_submodule(path, dropout)
    refused()


def test_checkpointing_by_torch_wraps_patched_blocks() -> None:
    """Gradients are those without it."""
    from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper

    plain, wrapped = (vidtldr.apply_patch(FAMILIES["VideoMAE"].build(), r=R) for _ in range(2))
    layers, inputs = find_host(wrapped).root.encoder.layer, FAMILIES["VideoMAE"].inputs()
    for i, block in enumerate(layers):
        layers[i] = checkpoint_wrapper(block)
    for model in (plain, wrapped):
        model(**inputs).logits.sum().backward()
    pairs = zip(plain.parameters(), wrapped.parameters(), strict=True)
    assert all(torch.equal(one.grad, other.grad) for one, other in pairs)
    with pytest.raises(NotImplementedError, match=r"got .*\.CheckpointWrapper in block 0"):
        vidtldr.apply_patch(wrapped, r=R)
