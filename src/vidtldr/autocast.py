"""Keep the precision of products inside the caller's autocast."""

from contextlib import AbstractContextManager, nullcontext

import torch

__all__ = ["without_autocast"]


def without_autocast(device: torch.device) -> AbstractContextManager[object]:
    """Context in which autocast does not cast products to half types.

    If autocast is off, it adds nothing to an exported graph.

    Args:
        device: Device of the tensors that are multiplied.
    """
    # Torch before 2.13 cannot trace the availability check; where it compiles, autocast exists.
    is_there = torch.compiler.is_compiling() or torch.amp.is_autocast_available(device.type)
    if is_there and torch.is_autocast_enabled(device.type):
        return torch.autocast(device.type, enabled=False)
    return nullcontext()
