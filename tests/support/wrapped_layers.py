"""Linear layers that something wraps, and what a merging model must make of each."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from support.every_family import Family, equal, largest_difference, outputs
from torch import Tensor, nn

import vidtldr
from vidtldr.hosts.registry import find_host

R = [5, 3]
LAYER = 1  # which merges, too


class PlusOne(nn.Module):
    """A layer in place of a linear one, of which only its call is known."""

    def __init__(self, linear: nn.Module) -> None:
        super().__init__()
        self.linear = linear
        self.num_calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.num_calls += 1
        return self.linear(x) + 1


class LowRank(nn.Module):
    """An adapter: the layer itself, and a product of two thin matrices that is trained."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.linear = linear
        generator = torch.Generator().manual_seed(0)
        down = 0.3 * torch.randn(2, linear.in_features, generator=generator)
        up = 0.3 * torch.randn(linear.out_features, 2, generator=generator)
        self.down = nn.Parameter(down.to(linear.weight.dtype))
        self.up = nn.Parameter(up.to(linear.weight.dtype))

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x) + x @ self.down.T @ self.up.T

    def folded(self) -> nn.Linear:
        """One linear layer that does the same."""
        folded = copy.deepcopy(self.linear)
        folded.weight.data += self.up.data @ self.down.data
        return folded


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


def replace_linear_layers(
    module: nn.Module, replacement: Callable[[nn.Module], nn.Module], kind: type = nn.Linear
) -> None:
    for name, child in list(module.named_children()):
        if isinstance(child, kind):
            setattr(module, name, replacement(child))
        else:
            replace_linear_layers(child, replacement, kind)


def linear_layers(block: nn.Module) -> dict[str, nn.Linear]:
    return {name: m for name, m in block.named_modules() if isinstance(m, nn.Linear)}


def check_each_adapter_merges_as_its_folded_weight(family: Family, refused: str = "") -> None:
    """Adapt one linear layer of a merging block after the other, after patching.

    Args:
        family: Whose.
        refused: The name of the layer whose adapter is refused.
    """
    model = vidtldr.apply_patch(family.build().double(), r=R)
    block, inputs = find_host(model).blocks[LAYER], family.inputs()
    plain = outputs(model, inputs)
    for name, linear in linear_layers(block).items():
        if name == refused:
            continue
        adapted = LowRank(linear)
        block.set_submodule(name, adapted)
        found = outputs(model, inputs)
        block.set_submodule(name, adapted.folded())
        # Rotary positions are in float32 in some families.
        assert largest_difference(found, outputs(model, inputs)) < 1e-6, name
        assert largest_difference(found, plain) > 1e-4, name
        block.set_submodule(name, linear)
    assert equal(outputs(model, inputs), plain)


def check_each_change_of_a_forward_counts(family: Family, refused: str = "") -> None:
    """A hook, and a forward replaced on the layer, do what a wrapper does."""
    model = vidtldr.apply_patch(family.build(), r=R)
    block, inputs = find_host(model).blocks[LAYER], family.inputs()
    for name, linear in linear_layers(block).items():
        if name == refused:
            continue
        block.set_submodule(name, PlusOne(linear))
        expected = outputs(model, inputs)
        block.set_submodule(name, linear)
        handle = linear.register_forward_hook(lambda _, __, y: y + 1)
        assert equal(outputs(model, inputs), expected), name
        handle.remove()
        forward = linear.forward
        linear.forward = lambda x, forward=forward: forward(x) + 1
        assert equal(outputs(model, inputs), expected), name
        del linear.forward


def check_each_module_is_called_as_often_as_unmerged(family: Family) -> None:
    """Of a merging block, but for those whose forward is walked around."""
    model, inputs = family.build(), family.inputs()
    host = find_host(model)
    block = host.blocks[LAYER]
    around = set(map(id, [*host.walked_around(block).values(), *host.not_called(block)]))
    names: list[str] = []
    for name, module in block.named_modules():
        if id(module) not in around:
            module.register_forward_hook(lambda *_, name=name: names.append(name))
    outputs(model, inputs)
    unmerged = sorted(names)
    names.clear()
    outputs(vidtldr.apply_patch(model, r=R), inputs)
    assert sorted(names) == unmerged


def check_a_wrapper_is_refused(family: Family, wrap: Callable[[nn.Module], nn.Module]) -> None:
    """Around a block, or around a part of it whose forward is walked around."""
    model = family.build()
    for path in _paths_walked_around(model, 0):
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


def check_a_wrapper_after_the_patch_is_noticed(
    family: Family, wrap: Callable[[nn.Module], nn.Module]
) -> None:
    """Around a part of a block; one around the block itself runs, and the block inside it."""
    model, inputs = family.build(), family.inputs()
    block, *inside = _paths_walked_around(model, LAYER)
    vidtldr.apply_patch(model, r=R)
    assert inside
    for path in inside:
        inner = model.get_submodule(path)
        model.set_submodule(path, wrap(inner))
        with pytest.raises(NotImplementedError, match=r"model must be .*, got .* in block 1"):
            outputs(model, inputs)
        model.set_submodule(path, inner)
    expected = outputs(model, inputs)
    model.set_submodule(block, wrap(model.get_submodule(block)))
    assert equal(outputs(model, inputs), expected)


def _paths_walked_around(model: nn.Module, layer: int) -> list[str]:
    """Where in the model a block, and its modules that are walked around, are."""
    host = find_host(model)
    around = set(map(id, host.walked_around(host.blocks[layer]).values()))
    return [path for path, module in model.named_modules() if id(module) in around]
