"""Modules of a block that a merging forward walks around: what is set on them would be lost."""

from collections.abc import Iterator
from typing import Any, NoReturn

from torch import nn

from vidtldr.hosts.host import Host

__all__ = ["validate_bypassed", "validate_own_forward"]

# Transformers records hidden states and attention maps with its own hooks, which change nothing.
_HARMLESS_HOOKS = "transformers.utils.output_capturing"


def validate_bypassed(walk: type[Host], block: nn.Module, layer: int) -> None:
    """Check that nothing hooks or replaces a forward that walking the block does not call.

    Args:
        walk: The block's family.
        block: Its own hooks are called as ever.
        layer: Which layer, 0-based, for the message.

    Raises:
        NotImplementedError: If something does.
    """
    for module in walk.walked_around(block).values():
        if module is not block:
            validate_own_forward(module, layer)
            for hook in _hooks_of(module):
                if getattr(hook, "__module__", None) != _HARMLESS_HOOKS:
                    _refuse(
                        layer,
                        f"{_name(module)} must have no forward or backward hooks, got {hook!r}",
                    )


def validate_own_forward(module: nn.Module, layer: int) -> None:
    """Check that a module runs its class's own forward, if need be behind a hook of accelerate.

    Raises:
        NotImplementedError: If it runs another.
    """
    own = vars(module).get("_old_forward", vars(module).get("forward"))
    if own is not None and getattr(own, "__func__", None) is not type(module).forward:
        _refuse(layer, f"{_name(module)} must have its class's own forward, got {own!r}")


def _hooks_of(module: nn.Module) -> Iterator[Any]:
    yield from module._forward_hooks.values()
    yield from module._forward_pre_hooks.values()
    yield from module._backward_hooks.values()
    yield from module._backward_pre_hooks.values()


def _name(module: nn.Module) -> str:
    return type(module).__name__


def _refuse(layer: int, what: str) -> NoReturn:
    raise NotImplementedError(
        f"block {layer}: {what}, which a merging layer would walk around. Undo that, or do not "
        "merge."
    )
