"""Replicas of a patched model in `DataParallel`, one on each device."""

import copy
from typing import Any, Self

from torch import nn

__all__ = ["Replacement", "Replicating"]


class Replacement:
    """What a patch puts on a module in place of a method.

    Attributes:
        module: The module that it is on.
    """

    module: Any

    def on(self, module: nn.Module) -> Self:
        """The same on another module, such as a replica."""
        moved = copy.copy(self)
        moved.module = module
        return moved


class Replicating(Replacement):
    """Replaces `_replicate_for_data_parallel`, so that a replica runs its own weights.

    Torch copies a module's attributes as they are: what a patch put there would go on running the
    first device's module.
    """

    def __init__(self, module: nn.Module) -> None:
        self.module = module

    def __call__(self) -> nn.Module:
        """Make a replica."""
        replica: nn.Module = type(self.module)._replicate_for_data_parallel(self.module)
        for name, value in list(vars(replica).items()):
            if isinstance(value, Replacement):
                replica.__dict__[name] = value.on(replica)
        return replica
