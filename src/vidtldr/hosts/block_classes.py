"""Whether blocks are built of the classes whose forward a family's walk stands in for."""

from torch import nn
from torch.nn.utils.parametrize import type_before_parametrizations

from vidtldr.hosts.host import Host, full_name

__all__ = ["modules_walked_around", "validate_block_classes"]


def validate_block_classes(host: Host, first: int) -> None:
    """Check the blocks of a model from `first` on.

    Raises:
        NotImplementedError: As `modules_walked_around`.
    """
    for layer, block in enumerate(host.blocks[first:], start=first):
        modules_walked_around(type(host), block, layer)


def modules_walked_around(walk: type[Host], block: nn.Module, layer: int) -> list[nn.Module]:
    """The modules of a block whose own forward is not called, of the classes that a family knows.

    Parametrizing a weight makes a class of its own, which computes the same.

    Args:
        walk: The family.
        block: The block.
        layer: Which layer, 0-based, for the message.

    Returns:
        The block and modules inside it.

    Raises:
        NotImplementedError: If one is not, such as a wrapper around it.
    """
    try:
        walked = walk.walked_around(block)
    except AttributeError as error:  # a wrapper without the modules of what it wraps
        raise NotImplementedError(
            f"model must be built of blocks of {walk.family}, got {full_name(type(block))} in "
            f"block {layer} ({error}): its forward is not known here. Take off what wraps the "
            "block or a part of it, or do not merge."
        ) from error
    for known, module in walked.items():
        if full_name(type(module)) == known:
            continue
        found = full_name(type_before_parametrizations(module))
        if found != known:  # a subclass may compute something else: exact names only
            raise NotImplementedError(
                f"model must be built of {known}, got {found} in block {layer}: its forward is "
                "not known here. Use a model of the plain classes; what wraps one must be taken "
                "off or folded into its weights, as by PEFT's `merge_and_unload`."
            )
    return list(walked.values())
