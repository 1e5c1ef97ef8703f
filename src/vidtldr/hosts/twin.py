"""Copies of a model that share its weights, so that several variants run beside each other."""

import copy
from typing import TypeVar

from torch import nn

from vidtldr.hosts.config import MergeConfig
from vidtldr.hosts.patching import apply_patch

__all__ = ["merged_twin", "twin"]

ModelT = TypeVar("ModelT", bound=nn.Module)


def twin(model: ModelT) -> ModelT:
    """A copy of a model with the same parameters and buffers, not copies of them."""
    shared = {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}
    return copy.deepcopy(model, memo=dict(shared))


def merged_twin(model: ModelT, config: MergeConfig) -> ModelT:
    """A patched copy of an unpatched model that shares its weights, so that both run in turn.

    Raises:
        ValueError, NotImplementedError: As `apply_patch`.
    """
    return apply_patch(twin(model), config)
