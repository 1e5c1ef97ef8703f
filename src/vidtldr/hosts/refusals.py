"""What `apply_patch` refuses to change, because the change would be lost or wrong in silence."""

from typing import Any, NoReturn

from torch import nn

from vidtldr.hosts.host import Host, full_name
from vidtldr.hosts.merging_forward import merging_forward_of

__all__ = [
    "refuse_compiled",
    "refuse_several_devices",
    "validate_block_classes",
    "validate_blocks",
    "validate_module",
]

# Transformers records hidden states and attention maps by hooks of its own, which change nothing.
_HARMLESS_HOOKS = "transformers.utils.output_capturing"


def validate_module(model: object) -> None:
    """Check that a model is one.

    Raises:
        TypeError: If it is not.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be a torch module, got {type(model).__name__}. Load it first.")


def refuse_compiled(model: nn.Module) -> None:
    """Check that nothing in a model is compiled.

    Raises:
        ValueError: If something is.
    """
    for module in model.modules():
        is_compiled = getattr(module, "_compiled_call_impl", None) is not None
        if is_compiled or hasattr(module, "_orig_mod"):
            raise ValueError(
                "model must not be compiled yet, got a compiled module: its graph would go on "
                "without the change. Patch the model first and compile it then; to change it, "
                "compile a fresh one."
            )


def refuse_several_devices(model: nn.Module) -> None:
    """Check that accelerate did not spread a model over devices.

    Raises:
        NotImplementedError: If it did.
    """
    for module in model.modules():
        device_map: dict[str, object] = getattr(module, "hf_device_map", None) or {}
        devices = set(map(str, device_map.values())) - {"cpu", "disk"}
        if len(devices) > 1:
            raise NotImplementedError(
                f"model must run on one device, got {sorted(devices)}: tokens lose their mass "
                "between devices. Load it with device_map={'': device}."
            )


def validate_blocks(host: Host, first: int) -> None:
    """Check that walking the blocks from `first` on computes what their own forward does.

    Raises:
        NotImplementedError: If blocks are shared between layers, of another class than the known
            ones, or something else exchanged or watches a forward that is walked around.
    """
    blocks = host.blocks[first:]
    if len(set(map(id, blocks))) < len(blocks):
        raise NotImplementedError(
            "model must have a block of its own in each layer, got one that several layers share: "
            "it cannot merge by layer. Copy the block for each layer."
        )
    validate_block_classes(host, first)
    for layer, block in enumerate(blocks, start=first):
        for module in host.walked_around(block).values():
            _validate_own_forward(module, layer)
            if module is not block:
                _validate_unwatched(module, layer)


def validate_block_classes(host: Host, first: int) -> None:
    """Check that the blocks from `first` on are of the classes that the host knows.

    Raises:
        NotImplementedError: If one is not.
    """
    for layer, block in enumerate(host.blocks[first:], start=first):
        for known, module in host.walked_around(block).items():
            found = full_name(type(module))
            if found != known:  # a subclass may compute something else: exact names only
                raise NotImplementedError(
                    f"model must be built of {known}, got {found} in block {layer}: its forward "
                    "is not known here. Use a model of the plain classes."
                )


def _validate_own_forward(module: nn.Module, layer: int) -> None:
    if merging_forward_of(module) is not None:
        return
    own = vars(module).get("_old_forward", vars(module).get("forward"))
    if own is not None and getattr(own, "__func__", None) is not type(module).forward:
        _refuse(layer, f"{type(module).__name__} must have its class's own forward, got {own!r}")


def _validate_unwatched(module: nn.Module, layer: int) -> None:
    hooks: list[Any] = [*module._forward_hooks.values(), *module._forward_pre_hooks.values()]
    for hook in hooks:
        if getattr(hook, "__module__", None) != _HARMLESS_HOOKS:
            _refuse(layer, f"{type(module).__name__} must have no forward hooks, got {hook!r}")


def _refuse(layer: int, what: str) -> NoReturn:
    raise NotImplementedError(
        f"block {layer}: {what}, which a merging layer would walk around. Undo that first."
    )
