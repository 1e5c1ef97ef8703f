"""Run a model once on one clip and keep everything worth showing.

Letters: `T` frames, `S` side of a frame, `N0` patches, `C` channels.
"""

from collections.abc import Callable
from dataclasses import dataclass
from threading import get_ident
from typing import Any

import torch
from torch import Tensor, nn

from vidtldr.hosts.registry import find_host
from vidtldr.method.source import unmerge_tokens
from vidtldr.patch.patching import trace
from vidtldr.visualize.merged_layer import MergedLayer, merged_layers
from vidtldr.visualize.patch_grid import PatchGrid, find_patch_grid

__all__ = ["Observation", "observe"]


@dataclass(frozen=True, eq=False)
class Observation:
    """One forward pass of one clip.

    Attributes:
        output: What the forward pass returned.
        grid: Where the patches are.
        layers: What merged; empty for an unmerged model.
        num_tokens: Tokens after each layer, prefix tokens included, of all frames.
        features: Output of the last block for the token that each patch is in, shape (N0, C),
            float32, on the CPU.
    """

    output: Any
    grid: PatchGrid
    layers: tuple[MergedLayer, ...]
    num_tokens: list[int]
    features: Tensor


@torch.inference_mode()
def observe(
    model: nn.Module, pixel_values: Tensor, forward: Callable[[nn.Module, Tensor], Any]
) -> Observation:
    """Run a model and record what it does.

    Args:
        model: A model of a known family, patched or not.
        pixel_values: One clip, shape (1, T, 3, S, S).
        forward: Calls the model.

    Returns:
        What was recorded; `features` are those of `unmerge_tokens`.

    Raises:
        ValueError, NotImplementedError: If the model or the shape is not one that can be drawn.
    """
    grid = find_patch_grid(model, pixel_values)
    kept: list[Tensor] = []
    last_block = find_host(model).blocks[-1]
    here = get_ident()

    def keep(_block: nn.Module, _args: object, output: Any) -> None:
        if get_ident() == here:  # another thread may run the same model meanwhile
            kept.append(output[0] if isinstance(output, tuple) else output)

    handle = last_block.register_forward_hook(keep)
    try:
        with trace(model) as recorded:
            output = forward(model, pixel_values)
    finally:
        handle.remove()
    x = kept[-1]
    if x.shape[1] != recorded.source.shape[1]:  # merged tokens, not the grid
        x = unmerge_tokens(x, recorded.source)
    features = grid.lay_out(x[:, grid.num_prefix_tokens :].flatten(0, 1)).flatten(0, 2)
    layers = merged_layers(recorded, grid)
    num_tokens = [count * grid.num_sequences for count in recorded.num_tokens]
    return Observation(output, grid, layers, num_tokens, features.float().cpu())
