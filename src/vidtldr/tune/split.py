"""Split clips into those that a search sees and those held out to measure what it found."""

from collections.abc import Sequence
from typing import NamedTuple

from vidtldr.tune.clips import TunedClip

__all__ = ["ClipSplit", "CopiedVideo", "split_clips", "without_copies"]


class CopiedVideo(NamedTuple):
    """A video that says nothing new, and the one whose content it has."""

    path: str
    copy_of: str


class ClipSplit(NamedTuple):
    """Two parts that share no content, each sorted by the hash of its clips.

    Attributes:
        search: Clips on which settings are tried and chosen.
        held_out: Clips on which the result is then measured.
    """

    search: list[TunedClip]
    held_out: list[TunedClip]


def without_copies(clips: Sequence[TunedClip]) -> tuple[list[TunedClip], list[CopiedVideo]]:
    """Keep the first clip of each content: copies would make means look surer than they are."""
    first: dict[str, TunedClip] = {}
    copies = [
        CopiedVideo(clip.path, first[clip.sha256].path)
        for clip in clips
        if first.setdefault(clip.sha256, clip) is not clip
    ]
    return list(first.values()), copies


def split_clips(clips: Sequence[TunedClip]) -> ClipSplit:
    """Hold out half of the clips, by the hash of their content.

    The clips of the lower half of the hashes are searched, and the middle one too if their number
    is odd. So order and file names do not matter, copies of a file stay together, and adding a clip
    moves at most one other to the other part.

    Raises:
        ValueError: If fewer than two clips differ in content.
    """
    hashes = sorted({clip.sha256 for clip in clips})
    if len(hashes) < 2:
        raise ValueError(
            f"videos must hold at least two different ones that can be read, got {len(hashes)}. "
            "Half of them are held out from the search: give eight or more."
        )
    last = hashes[(len(hashes) + 1) // 2 - 1]
    in_order = sorted(clips, key=lambda clip: clip.sha256)
    return ClipSplit(
        [clip for clip in in_order if clip.sha256 <= last],
        [clip for clip in in_order if clip.sha256 > last],
    )
