"""What a report is made of.

Letters: `T` frames of the clip, `N0` patches, `h` and `w` a tile.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vidtldr.visualize.merged_layer import MergedLayer
from vidtldr.visualize.patch_grid import PatchGrid

__all__ = ["Answer", "Report", "Side"]


@dataclass(frozen=True)
class Answer:
    """One answer of a model, likeliest first where there are several.

    Attributes:
        text: A label, a caption or an answer, as a person wrote it.
        score: How sure the model is, ready to print: `"93.1 %"`, `"cosine 0.31"`.
    """

    text: str
    score: str


@dataclass(frozen=True, eq=False)
class Side:
    """One way to run the model on the clip.

    Attributes:
        name: `"Unmerged"`, `"vid-TLDR"`, `"ToMe"` or what else it is.
        about: What is special about it, a sentence; may be empty.
        answers: What it says.
        num_tokens: Tokens after each layer.
        flops: Of the forward, counted; 1 MAC = 2 FLOPs.
        flops_per_layer: Of each layer, worked out; None where that is not known.
        times_ms: Wall-clock times of the forward, in milliseconds, at least one.
        layers: What merged; empty for the unmerged side.
    """

    name: str
    about: str
    answers: Sequence[Answer]
    num_tokens: Sequence[int]
    flops: int
    flops_per_layer: Sequence[int] | None
    times_ms: Sequence[float]
    layers: Sequence[MergedLayer] = ()

    @property
    def median_ms(self) -> float:
        """The median time, in milliseconds."""
        return float(np.median(self.times_ms))

    def time_differs_from(self, other: "Side") -> bool:
        """Whether several runs of each were all faster or all slower than the other's."""
        mine, others = self.times_ms, other.times_ms
        return min(len(mine), len(others)) > 1 and (
            max(mine) < min(others) or max(others) < min(mine)
        )

    @property
    def has_dropped(self) -> bool:
        """Whether a patch was dropped in some layer."""
        return any(bool(layer.is_dropped.any()) for layer in self.layers)


@dataclass(frozen=True, eq=False)
class Report:
    """Everything that a report shows.

    Attributes:
        video: Name of the file, any text.
        asked: What the answers answer, any text.
        facts: Name and value of what else is to be said: model, schedule, device.
        notes: Everything unusual about the file, a sentence each.
        unmerged: The model as it is.
        merged: The model that the report is about.
        rival: Another way to merge as much; None for no comparison.
        grid: Where the patches are.
        tiles: What the model sees, T pictures of shape (h, w, 3), uint8.
        times_seconds: The time of each frame; None if unknown.
        features: Colours of the unmerged and the merged features, each (N0, 3), uint8.
        cosine_kept: How alike the features stay, in [-1, 1].
        shown_layer: The merging layer shown first, as an index of `merged.layers`.
        caveat: What must be known before an answer is believed, a sentence; may be empty.
        are_answers_meant: Whether the answers tell anything of this clip.
        command: What was typed, any text; may be empty.
    """

    video: str
    asked: str
    facts: Sequence[tuple[str, str]]
    notes: Sequence[str]
    unmerged: Side
    merged: Side
    rival: Side | None
    grid: PatchGrid
    tiles: Sequence[NDArray[np.uint8]]
    times_seconds: Sequence[float | None]
    features: tuple[NDArray[np.uint8], NDArray[np.uint8]]
    cosine_kept: float
    shown_layer: int = 0
    caveat: str = ""
    are_answers_meant: bool = True
    command: str = ""

    @property
    def sides(self) -> list[Side]:
        """All sides, unmerged first."""
        return [self.unmerged, *self.methods]

    @property
    def methods(self) -> list[Side]:
        """The sides that merge, the one that the report is about first."""
        return [self.merged] if self.rival is None else [self.merged, self.rival]
