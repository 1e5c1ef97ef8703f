"""Models that `apply_patch` refuses, because the patch would be lost or silently wrong."""

from torch import nn

from vidtldr.hosts.host import Host
from vidtldr.patch.bypassed import validate_bypassed, validate_own_forward
from vidtldr.patch.merging_forward import merging_forward_of
from vidtldr.patch.replicas import Replacement

__all__ = [
    "refuse_compiled",
    "refuse_several_devices",
    "validate_blocks",
    "validate_pooling_steps",
]


def refuse_compiled(model: nn.Module) -> None:
    """Check that nothing in a model is compiled.

    Raises:
        ValueError: If something is compiled.
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
    """Check that accelerate did not spread a model over several devices.

    Raises:
        NotImplementedError: If it is spread.
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
    """Check that walking the blocks from `first` on computes the same as their own forward.

    Raises:
        NotImplementedError: If blocks are shared between layers, of an unknown class, or
            something else replaced or hooks a forward that is bypassed.
    """
    blocks = host.blocks[first:]
    if len(set(map(id, blocks))) < len(blocks):
        raise NotImplementedError(
            "model must have a block of its own in each layer, got one that several layers share: "
            "it cannot merge by layer. Copy the block for each layer."
        )
    for layer, block in enumerate(blocks, start=first):
        if merging_forward_of(block) is None:
            validate_own_forward(block, layer)
        validate_bypassed(type(host), block, layer)


def validate_pooling_steps(host: Host) -> None:
    """Check that the modules that pool tokens run their class's own forward.

    Raises:
        NotImplementedError: If something else replaced one.
    """
    for step in host.pooling_steps():
        own = vars(step.module).get("_old_forward", vars(step.module).get("forward"))
        is_own = getattr(own, "__func__", None) is type(step.module).forward
        if own is not None and not is_own and not isinstance(own, Replacement):
            raise NotImplementedError(
                f"{type(step.module).__name__} must have its class's own forward to pool by mass, "
                f"got {own!r}. Undo that, or leave out pooling='mass'."
            )
