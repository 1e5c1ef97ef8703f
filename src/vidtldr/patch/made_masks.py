"""Masks that transformers makes by itself while a graph is exported.

Run by Python it makes none where nothing is padded. While `torch.export` records, it makes one that
allows everything for a model that was given none.
"""

import inspect
from typing import Any

from torch import nn

from vidtldr.exporting import is_exporting

__all__ = ["MadeMasks"]


class MadeMasks:
    """Hook before a root's forward: notes whether the caller of an export passed a mask.

    Attributes:
        is_made: Whether a mask that reaches the blocks comes from the root itself.
    """

    def __init__(self) -> None:
        self.is_made = False

    def __call__(self, root: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Look for a mask among a root's arguments."""
        if is_exporting():
            given = inspect.signature(type(root).forward).bind(root, *args, **kwargs)
            passed = {**given.arguments, **given.arguments.get("kwargs", {})}
            self.is_made = all(
                value is None for name, value in passed.items() if name.endswith("attention_mask")
            )

    def put_on(self, root: nn.Module) -> None:
        """Hook the root, if its forward takes a mask."""
        names = inspect.signature(type(root).forward).parameters
        if any(name.endswith("attention_mask") for name in names):
            root.register_forward_pre_hook(self, with_kwargs=True)

    @staticmethod
    def take_off(module: nn.Module) -> None:
        """Remove the hook from a module, if it has one."""
        for key, hook in list(module._forward_pre_hooks.items()):
            if isinstance(hook, MadeMasks):
                del module._forward_pre_hooks[key]
                module._forward_pre_hooks_with_kwargs.pop(key, None)
