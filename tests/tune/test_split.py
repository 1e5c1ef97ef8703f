from random import Random

import pytest
import torch

from vidtldr.tune.clips import TunedClip
from vidtldr.tune.split import split_clips, without_copies


def clip(content: int, path: str = "") -> TunedClip:
    sha256 = f"{Random(content).getrandbits(256):064x}"
    return TunedClip(path or f"{content}.mp4", sha256, torch.zeros(1))


@pytest.mark.parametrize(("num_clips", "num_searched"), [(2, 1), (3, 2), (8, 4), (25, 13)])
def test_half_of_the_clips_are_held_out(num_clips: int, num_searched: int) -> None:
    clips = [clip(number) for number in range(num_clips)]
    search, held_out = split_clips(clips)
    assert len(search) == num_searched
    assert len(held_out) == num_clips - num_searched
    assert {*search, *held_out} == {*clips}


def test_the_order_and_the_names_of_files_do_not_count() -> None:
    clips = [clip(number) for number in range(9)]
    moved = [clip(number, f"elsewhere/{-number}.mp4") for number in reversed(range(9))]
    for part, same in zip(split_clips(clips), split_clips(moved), strict=True):
        assert [each.sha256 for each in part] == [each.sha256 for each in same]


@pytest.mark.parametrize("num_clips", [8, 9])
def test_a_further_clip_moves_at_most_one_other(num_clips: int) -> None:
    clips = [clip(number) for number in range(num_clips)]
    before = {each.sha256 for each in split_clips(clips).search}
    for number in range(100, 120):
        further = clip(number)
        after = {each.sha256 for each in split_clips([*clips, further]).search}
        assert len((before ^ after) - {further.sha256}) <= 1


def test_copies_of_a_file_stay_together() -> None:
    clips = [clip(number) for number in range(4)]
    copies = [clip(number, f"copy {number}.mp4") for number in range(4)]
    search, held_out = split_clips([*clips, *copies])
    assert not {each.sha256 for each in search} & {each.sha256 for each in held_out}
    assert len(search) == len(held_out) == 4


def test_copies_are_named_and_the_first_of_them_kept() -> None:
    clips = [clip(1), clip(2), clip(1, "a.mp4"), clip(3), clip(1, "b.mp4"), clip(3)]
    kept, copies = without_copies(clips)
    assert kept == [clips[0], clips[1], clips[3]]
    assert copies == [("a.mp4", "1.mp4"), ("b.mp4", "1.mp4"), ("3.mp4", "3.mp4")]
    assert without_copies([]) == ([], [])


@pytest.mark.parametrize("number", [0, 1])
def test_what_cannot_be_split_is_an_error(number: int) -> None:
    clips = [clip(1), clip(1, "copy.mp4")][: 2 * number]
    with pytest.raises(ValueError, match=rf"at least two different ones .*, got {number}\. Half"):
        split_clips(clips)
