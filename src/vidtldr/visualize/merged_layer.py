"""What one layer merged, mapped back to the original patches.

Letters: `N0` patches at first, `N` tokens now; (T, R, K) the grid of patches.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import accumulate

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vidtldr.method.saliency import foreground_mask
from vidtldr.method.source import unmerge_tokens
from vidtldr.patch.trace import LayerTrace, Trace
from vidtldr.visualize.patch_grid import PatchGrid

__all__ = ["MergedLayer", "merged_layers"]


@dataclass(frozen=True, eq=False)
class MergedLayer:
    """One merging layer of one clip; every array but `mass` has one value per patch.

    Attributes:
        layer: Which layer of the model, 0-based.
        num_tokens_before: Patch tokens that enter it.
        saliency: Eq. 5 of the token that a patch was in before, (T, R, K), in [0, 1]; None
            without a score, when all tokens count alike.
        is_foreground: Eq. 8 of the same tokens, (T, R, K); None without a score.
        group: The token after the layer that a patch is in, (T, R, K), in [0, N).
        weight: What a patch still counts for there, (T, R, K), in [0, 1]; 0 if it was dropped.
        mass: Mass of each token after the layer, (N,), prefix tokens left out.
    """

    layer: int
    num_tokens_before: int
    saliency: NDArray[np.float32] | None
    is_foreground: NDArray[np.bool_] | None
    group: NDArray[np.int64]
    weight: NDArray[np.float32]
    mass: NDArray[np.float32]

    @property
    def num_tokens(self) -> int:
        """N, tokens that leave the layer."""
        return len(self.mass)

    @cached_property
    def is_dropped(self) -> NDArray[np.bool_]:
        """Patches that are no longer part of any token, (T, R, K)."""
        return np.asarray(self.weight == 0)

    @cached_property
    def num_members(self) -> NDArray[np.int64]:
        """Number of surviving patches in each token, (N,), at least 1."""
        alive = self.group[~self.is_dropped]
        return np.bincount(alive, minlength=self.num_tokens)

    @cached_property
    def is_shared(self) -> NDArray[np.bool_]:
        """Surviving patches that share a token with others, (T, R, K)."""
        return ~self.is_dropped & (self.num_members[self.group] > 1)

    @cached_property
    def first_patch(self) -> NDArray[np.int64]:
        """The first surviving patch of each token, (N,), in [0, N0): it identifies the group.

        It differs between groups and changes little from one layer to the next.
        """
        first = np.full(self.num_tokens, self.group.size, dtype=np.int64)
        patches = np.flatnonzero(~self.is_dropped.ravel())
        np.minimum.at(first, self.group.ravel()[patches], patches)
        return first


def merged_layers(trace: Trace, grid: PatchGrid, clip: int = 0) -> tuple[MergedLayer, ...]:
    """Map every merging layer of a trace back to the patches of one clip.

    Args:
        trace: Trace of a finished forward pass.
        grid: Where the patches are.
        clip: Which clip of the batch; of a model that sees single frames there is only one, all
            frames side by side.

    Returns:
        The merging layers, first layer first.

    Raises:
        ValueError: If the forward pass had another number of tokens than the grid.
        RuntimeError: If the forward pass is not finished.
    """
    if grid.is_per_frame:
        frame = replace(grid, num_frames=1, is_per_frame=False)
        frames = [merged_layers(trace, frame, index) for index in range(grid.num_frames)]
        return tuple(_side_by_side(parts) for parts in zip(*frames, strict=True))
    num_tokens = trace.source.shape[1]
    if num_tokens != grid.num_prefix_tokens + grid.num_patches:
        raise ValueError(
            f"grid must have {num_tokens - grid.num_prefix_tokens} patches as the traced forward, "
            f"got {grid.num_patches}. Trace the clip that the grid was found for."
        )
    before = torch.arange(num_tokens)
    found = []
    for layer in sorted(trace.layers):
        record = trace.layers[layer]
        found.append(_merged_layer(layer, record, before, grid, clip))
        before = record.source[clip].cpu()
    return tuple(found)


def _side_by_side(frames: Sequence[MergedLayer]) -> MergedLayer:
    """One layer of all frames; tokens of later frames are counted on from those of earlier ones."""
    starts = accumulate((frame.num_tokens for frame in frames[:-1]), initial=0)
    groups = [frame.group + start for frame, start in zip(frames, starts, strict=True)]
    saliency = [frame.saliency for frame in frames if frame.saliency is not None]
    foreground = [frame.is_foreground for frame in frames if frame.is_foreground is not None]
    return MergedLayer(
        layer=frames[0].layer,
        num_tokens_before=sum(frame.num_tokens_before for frame in frames),
        saliency=np.concatenate(saliency) if saliency else None,
        is_foreground=np.concatenate(foreground) if foreground else None,
        group=np.concatenate(groups),
        weight=np.concatenate([frame.weight for frame in frames]),
        mass=np.concatenate([frame.mass for frame in frames]),
    )


def _merged_layer(
    layer: int, record: LayerTrace, before: Tensor, grid: PatchGrid, clip: int
) -> MergedLayer:
    prefix = grid.num_prefix_tokens
    patches_before = (before[prefix:] - prefix)[None]  # (1, N0)

    def on_patches(values: Tensor) -> NDArray[np.float32]:
        value = values[clip : clip + 1].detach().float().cpu()
        return grid.lay_out(unmerge_tokens(value, patches_before)[0]).numpy()

    score = record.saliency
    group = record.source[clip, prefix:].cpu() - prefix
    weight = record.source_weight[clip, prefix:].float().cpu()
    return MergedLayer(
        layer=layer,
        num_tokens_before=int(patches_before.max()) + 1,
        saliency=None if score is None else on_patches(score),
        is_foreground=None if score is None else on_patches(foreground_mask(score)) > 0,
        group=grid.lay_out(group).numpy(),
        weight=grid.lay_out(weight).numpy(),
        mass=record.mass[clip, prefix:].float().cpu().numpy(),
    )
