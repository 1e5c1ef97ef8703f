"""Whether blocks are built of the classes whose forward a family's walk stands in for."""

from torch import nn
from torch.nn.utils.parametrize import type_before_parametrizations

from vidtldr.hosts.host import Host, full_name

__all__ = ["validate_block", "validate_block_classes"]


def validate_block_classes(host: Host, first: int) -> None:
    """Check the blocks of a model from `first` on.

    Raises:
        NotImplementedError: As `validate_block`.
    """
    for layer, block in enumerate(host.blocks[first:], start=first):
        validate_block(type(host), block, layer)


def validate_block(walk: type[Host], block: nn.Module, layer: int) -> None:
    """Check that a block, and what is walked around in it, is of the classes that a family knows.

    Parametrizing a weight makes a class of its own, which computes the same.

    Args:
        walk: The family.
        block: The block.
        layer: Which layer, 0-based, for the message.

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
        found = full_name(type_before_parametrizations(module))
        if found != known:  # a subclass may compute something else: exact names only
            raise NotImplementedError(
                f"model must be built of {known}, got {found} in block {layer}: its forward is "
                "not known here. Use a model of the plain classes; what wraps one must be taken "
                "off or folded into its weights, as by PEFT's `merge_and_unload`."
            )
