"""Copies of a model that share its weights, to run several variants side by side."""

import copy
from typing import TypeVar

from torch import nn

from vidtldr.config import MergeConfig
from vidtldr.patch.patching import apply_patch

__all__ = ["merged_twin", "twin"]

ModelT = TypeVar("ModelT", bound=nn.Module)


def twin(model: ModelT) -> ModelT:
    """Copy a model; the copy shares its parameters and buffers."""
    shared = {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}
    return copy.deepcopy(model, memo=dict(shared))


def merged_twin(model: ModelT, config: MergeConfig) -> ModelT:
    """Make a patched copy of an unpatched model that shares its weights, so that both can run.

    Raises:
        ValueError, NotImplementedError: As `apply_patch`.
    """
    return apply_patch(twin(model), config)
