"""The contents of a report.

Letters: `T` frames of the clip, `N0` patches, `h` and `w` a tile.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vidtldr.measure.busyness import IDLE, BusyReport
from vidtldr.visualize.merged_layer import MergedLayer
from vidtldr.visualize.patch_grid import PatchGrid

__all__ = ["Answer", "Report", "Side"]


@dataclass(frozen=True)
class Answer:
    """One answer of a model; several are listed likeliest first.

    Attributes:
        text: A label, a caption or an answer, as a person wrote it.
        score: The model's confidence, ready to print: `"93.1 %"`, `"cosine 0.31"`.
    """

    text: str
    score: str


@dataclass(frozen=True, eq=False)
class Side:
    """One way to run the model on the clip.

    Attributes:
        name: `"Unmerged"`, `"vid-TLDR"`, `"ToMe"` or another name.
        about: What is special about it, in a sentence; may be empty.
        answers: The model's answers.
        num_tokens: Tokens after each layer.
        flops: FLOPs of the forward pass, counted; 1 MAC = 2 FLOPs.
        flops_per_layer: FLOPs of each layer, calculated; None if unknown.
        times_ms: Wall-clock times of the forward pass, in milliseconds, at least one.
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
        """Whether there are several runs of each, all faster or all slower than the other's."""
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
        asked: The question that was answered, any text.
        facts: Names and values of other facts: model, schedule, device.
        notes: Everything unusual about the file and the machine, one sentence each.
        unmerged: The model as is.
        merged: The model that the report is about.
        rival: Another way to merge as much; None for no comparison.
        grid: Where the patches are.
        tiles: What the model sees, T pictures of shape (h, w, 3), uint8.
        times_seconds: The time of each frame; None if unknown.
        features: Colours of the unmerged and the merged features, each (N0, 3), uint8.
        cosine_kept: How similar the features stay, in [-1, 1].
        shown_layer: The merging layer shown first, as an index of `merged.layers`.
        caveat: What a reader must know before trusting an answer, in a sentence; may be empty.
        are_answers_meant: Whether the answers say anything about this clip.
        command: The command line, any text; may be empty.
        busy: Processor load by other programs while the sides were timed.
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
    busy: BusyReport = IDLE

    @property
    def sides(self) -> list[Side]:
        """All sides, unmerged first."""
        return [self.unmerged, *self.methods]

    @property
    def methods(self) -> list[Side]:
        """The sides that merge, the one that the report is about first."""
        return [self.merged] if self.rival is None else [self.merged, self.rival]
