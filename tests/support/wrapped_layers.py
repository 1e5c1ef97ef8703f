"""Linear layers that something wraps, and what a merging model must make of each."""

import copy
from collections.abc import Callable

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
