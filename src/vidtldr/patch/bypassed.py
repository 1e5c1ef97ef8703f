"""Modules of a block that a merging forward walks around: what is set on them would be lost."""

from collections.abc import Iterator, Sequence
from typing import Any, NoReturn

from torch import nn

from vidtldr.hosts.block_classes import modules_walked_around
from vidtldr.hosts.host import Host, full_name

__all__ = ["validate_bypassed", "validate_own_forward"]

# Transformers records hidden states and attention maps with its own hooks, which change nothing.
_HARMLESS_HOOKS = "transformers.utils.output_capturing"
_PLAIN_FORWARDS = (nn.Linear.forward, nn.Dropout.forward, nn.Identity.forward)


def validate_bypassed(walk: type[Host], block: nn.Module, layer: int) -> None:
    """Check that nothing wraps, hooks or replaces a forward that walking the block does not call.

    Args:
        walk: The block's family.
        block: Its own hooks are called as ever.
        layer: Which layer, 0-based, for the message.

    Raises:
        NotImplementedError: If something does, or a module is of a class that is not known.
    """
    for module in modules_walked_around(walk, block, layer):
        if module is not block:
            _validate_untouched(module, layer)
    for module in walk.not_called(block):
        if getattr(type(module), "forward", None) not in _PLAIN_FORWARDS:
            raise NotImplementedError(
                f"block {layer}: {_path(module, block)} must be a plain Linear or Dropout of "
                f"torch, got {full_name(type(module))}, which a merging layer would not call. "
                "Fold what it adds into the weight, as PEFT's `merge_and_unload` does, or leave "
                "this layer as it was."
            )
        _validate_untouched(module, layer)


def validate_own_forward(module: nn.Module, layer: int) -> None:
    """Check that a module runs its class's own forward, if need be behind a hook of accelerate.

    Raises:
        NotImplementedError: If it runs another.
    """
    own = vars(module).get("_old_forward", vars(module).get("forward"))
    if own is not None and getattr(own, "__func__", None) is not type(module).forward:
        _refuse(layer, f"{_name(module)} must have its class's own forward, got {own!r}")


def _validate_untouched(module: nn.Module, layer: int) -> None:
    validate_own_forward(module, layer)
    for hook in _hooks_of(module):
        if getattr(hook, "__module__", None) != _HARMLESS_HOOKS:
            _refuse(layer, f"{_name(module)} must have no forward or backward hooks, got {hook!r}")
    for hook in _accelerate_hooks_of(module):
        if full_name(type(hook)) != "accelerate.hooks.AlignDevicesHook" or hook.offload:
            _refuse(
                layer,
                f"{_name(module)} must have no hook of accelerate that changes or loads anything, "
                f"got {hook!r}",
            )


def _hooks_of(module: nn.Module) -> Iterator[Any]:
    yield from module._forward_hooks.values()
    yield from module._forward_pre_hooks.values()
    yield from module._backward_hooks.values()
    yield from module._backward_pre_hooks.values()


def _accelerate_hooks_of(module: nn.Module) -> Sequence[Any]:
    hook = vars(module).get("_hf_hook")
    return () if hook is None else getattr(hook, "hooks", (hook,))  # those of a `SequentialHook`


def _path(module: nn.Module, block: nn.Module) -> str:
    names: dict[nn.Module, str] = {inner: name for name, inner in block.named_modules()}
    return names[module]


def _name(module: nn.Module) -> str:
    return type(module).__name__


def _refuse(layer: int, what: str) -> NoReturn:
    raise NotImplementedError(
        f"block {layer}: {what}, which a merging layer would walk around. Undo that, or do not "
        "merge."
    )
