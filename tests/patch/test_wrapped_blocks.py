"""What wraps a block, or a part of it that merging walks around, is refused and never ignored."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from support.every_family import FAMILIES, outputs
from torch import nn

import vidtldr
from vidtldr.hosts.registry import find_host

R = [4, 5]
every_family = pytest.mark.parametrize("name", FAMILIES)


class Around(nn.Module):
    """A wrapper with nothing of what it wraps."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.inner(*args, **kwargs)


class Transparent(Around):
    """A wrapper that passes on the attributes of what it wraps, as those of PEFT and PyTorch do."""

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("inner"), name)


WRAPPERS: list[Callable[[nn.Module], nn.Module]] = [Around, Transparent]


def paths_walked_around(model: nn.Module, layer: int) -> list[str]:
    """Where in the model a block, and its modules that are walked around, are."""
    host = find_host(model)
    around = set(map(id, host.walked_around(host.blocks[layer]).values()))
    return [path for path, module in model.named_modules() if id(module) in around]


@every_family
@pytest.mark.parametrize("wrap", WRAPPERS)
def test_a_wrapper_is_refused(name: str, wrap: Callable[[nn.Module], nn.Module]) -> None:
    model = FAMILIES[name].build()
    for path in paths_walked_around(model, 0):
        inner = model.get_submodule(path)
        model.set_submodule(path, wrap(inner))
        # The published InternVideo2 is known by the parts of its blocks, which a wrapper may hide.
        with pytest.raises(
            (NotImplementedError, ValueError),
            match=r"model must be (built of .*, got .* in block 0|of a known family)",
        ):
            vidtldr.apply_patch(model, r=R)
        model.set_submodule(path, inner)
    vidtldr.apply_patch(model, r=R)


@every_family
@pytest.mark.parametrize("wrap", WRAPPERS)
def test_a_wrapper_that_comes_after_the_patch_is_noticed_by_the_next_forward(
    name: str, wrap: Callable[[nn.Module], nn.Module]
) -> None:
    model, inputs = FAMILIES[name].build(), FAMILIES[name].inputs()
    _block, *inside = paths_walked_around(model, 1)
    vidtldr.apply_patch(model, r=R)
    assert inside
    for path in inside:
        inner = model.get_submodule(path)
        model.set_submodule(path, wrap(inner))
        with pytest.raises(NotImplementedError, match=r"model must be .*, got .* in block 1"):
            outputs(model, inputs)
        model.set_submodule(path, inner)
    outputs(model, inputs)


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
