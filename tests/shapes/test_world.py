from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from vidtldr.shapes.factors import MOTIONS, Split
from vidtldr.shapes.world import RGB, ShapesClips, ShapesWorld

INDICES = (5, 0, 17, 3)


@pytest.fixture(scope="module")
def clips() -> ShapesClips:
    with torch.random.fork_rng():
        return ShapesWorld(0, "train").clips(range(120))


@pytest.mark.parametrize("side", [96, 112])
@pytest.mark.parametrize("num_frames", [2, 4, 8])
def test_shapes_and_types(num_frames: int, side: int) -> None:
    clips = ShapesWorld(0, "train", num_frames, side).clips(INDICES)
    assert clips.frames.shape == (4, num_frames, 3, side, side)
    assert clips.frames.dtype == torch.uint8
    assert clips.objects.shape == (4, num_frames, side, side)
    assert clips.objects.dtype == torch.uint8
    assert clips.objects.max() == 2
    assert clips.centres.shape == (4, num_frames, 2, 2)
    assert clips.speeds.shape == (4, 2)
    assert (clips.frames.float().std(dim=(1, 2, 3, 4)) > 5).all()


@pytest.mark.parametrize("split", ["train", "validation", "test", "unseen"])
def test_a_clip_alone_equals_that_clip_in_a_batch(split: Split) -> None:
    world = ShapesWorld(3, split, 4)
    together = world.clips(INDICES)
    for place, index in enumerate(INDICES):
        alone = world.clips([index])
        # other sizes of a batch may be added up in another order: one step of 255 at most
        difference = (alone.frames[0].int() - together.frames[place].int()).abs()
        assert difference.max() <= 1
        assert (difference > 0).double().mean() < 1e-3
        assert (alone.objects[0] != together.objects[place]).double().mean() < 1e-4
        assert alone.factors.rows() == [together.factors.rows()[place]]


def test_the_same_world_draws_the_same_again_from_lists_and_tensors() -> None:
    one = ShapesWorld(1, "test", 2).clips(list(INDICES))
    other = ShapesWorld(1, "test", 2).clips(torch.tensor(INDICES))
    assert torch.equal(one.frames, other.frames)
    assert torch.equal(one.objects, other.objects)


def test_centres_are_the_middles_of_what_is_drawn(clips: ShapesClips) -> None:
    pixels = torch.arange(96) + 0.5
    for k in (1, 2):
        mask = (clips.objects == k).double()  # (B, T, S, S)
        size = mask.sum(dim=(2, 3))
        middle = torch.stack(((mask.sum(2) * pixels).sum(-1), (mask.sum(3) * pixels).sum(-1)), -1)
        off = (middle / size[..., None] - clips.centres[:, :, k - 1]).norm(dim=-1)[size > 200]
        assert len(off) > 100
        assert off.mean() < 2  # pixels; a heart's or an arrow's weight is not in its middle
        assert off.max() < 6


@pytest.mark.parametrize("split", ["train", "test"])
def test_some_frames_are_those_of_the_whole_clip(split: Split) -> None:
    world, frames = ShapesWorld(0, split), [1, 4, 7]
    whole, some = world.clips(INDICES), world.clips(INDICES, frames)
    assert some.frames.shape == (4, 3, 3, 96, 96)
    difference = (some.frames.int() - whole.frames[:, frames].int()).abs()
    assert difference.max() <= 1  # as for a clip alone and in a batch
    assert (difference > 0).double().mean() < 1e-3
    assert (some.objects != whole.objects[:, frames]).double().mean() < 1e-4
    assert torch.equal(some.centres, whole.centres[:, frames])
    assert torch.equal(some.speeds, whole.speeds)  # of the whole clip
    assert some.factors.rows() == whole.factors.rows()


def test_seeds_and_splits_differ() -> None:
    base = ShapesWorld(0, "train", 2).clips(INDICES).frames
    for world in (ShapesWorld(1, "train", 2), ShapesWorld(0, "unseen", 2)):
        other = world.clips(INDICES).frames
        assert ((base != other).double().mean(dim=(1, 2, 3, 4)) > 0.5).all()


def test_factors_are_those_of_the_clips() -> None:
    world = ShapesWorld(2, "unseen", 2)
    assert world.factors(INDICES).rows() == world.clips(INDICES).factors.rows()


def test_the_mask_is_where_the_colour_is(clips: ShapesClips) -> None:
    """Inside the only object its colour is nearest of all; the rim and the light do not matter."""
    alone = clips.factors.num_objects == 1
    mask = (clips.objects[alone] > 0).double()
    inner = 1 - F.max_pool2d(1 - mask, 7, stride=1, padding=3)  # 3 pixels within the edge
    frames = clips.frames[alone].double() / 255
    mean = (frames * inner[:, :, None]).sum(dim=(1, 3, 4)) / inner.sum(dim=(1, 2, 3))[:, None]
    nearest = torch.cdist(mean, torch.tensor(RGB, dtype=torch.float64)).argmin(dim=1)
    right = nearest == clips.factors.colour[alone]
    assert len(right) > 40
    assert right.double().mean() > 0.95


def test_outside_the_mask_the_background_is_alike_all_around(clips: ShapesClips) -> None:
    """The mask holds all of the object: a ring around it has next to nothing of its colour."""
    alone = clips.factors.num_objects == 1
    mask = (clips.objects[alone] > 0).double()
    wide = F.max_pool2d(mask, 9, stride=1, padding=4)
    ring = wide - F.max_pool2d(mask, 3, stride=1, padding=1)
    rgb = torch.tensor(RGB, dtype=torch.float64)[clips.factors.colour[alone]]
    frames = clips.frames[alone].double() / 255
    distance = (frames - rgb[:, None, :, None, None]).norm(dim=2)
    near = distance < 0.25
    around = (near * ring).sum(dim=(1, 2, 3)) / ring.sum(dim=(1, 2, 3))
    inside = (near * mask).sum(dim=(1, 2, 3)) / mask.sum(dim=(1, 2, 3))
    assert around.mean() < 0.1
    assert inside.mean() > 0.4  # the rest is rim
    assert (inside > around).double().mean() > 0.95


def test_what_has_not_appeared_has_no_mask(clips: ShapesClips) -> None:
    appears = clips.factors.motion == MOTIONS.index("appears")
    alone = clips.factors.num_objects == 1
    area = (clips.objects > 0).sum(dim=(2, 3))
    assert (appears & alone).any()
    assert (area[appears & alone, 0] == 0).all()
    assert (area[~(appears & alone)] > 5).all()
    assert (area[appears, -1] > 5).all()


@pytest.mark.parametrize("share", [0.25, 0.6])
def test_foreground_patches_are_those_of_a_slow_reference(share: float) -> None:
    clips = ShapesWorld(0, "train", 2).clips([1, 8])
    found = clips.foreground_patches(12, share)
    assert found.shape == (2, 2 * 8 * 8)
    for clip in range(2):
        expected = [
            (clips.objects[clip, t, y : y + 12, x : x + 12] > 0).sum().item() >= share * 144
            for t in range(2)
            for y in range(0, 96, 12)
            for x in range(0, 96, 12)
        ]
        assert found[clip].tolist() == expected
    assert 0 < found.double().mean() < 0.5


def test_a_patch_is_of_the_object_that_fills_most_of_it() -> None:
    objects = torch.zeros(2, 1, 96, 96, dtype=torch.uint8)
    objects[0, 0, :4, :12] = 1  # 48 of 144 pixels ...
    objects[0, 0, 4:10, :12] = 2  # ... and 72 of the other
    objects[0, 0, 12:24, :6] = 1  # half of a patch
    objects[0, 0, 24:25, :12], objects[0, 0, 25:27, :12] = 2, 1  # a quarter, both together
    objects[1, 0, :2, 84:] = 2  # too little
    objects[1, 0, 84:, 84:] = 2
    clips = ShapesWorld(0, "train", 2).clips([0, 1], [0])
    found = replace(clips, objects=objects).patch_objects(12)
    expected = torch.zeros(2, 64, dtype=torch.int64)
    expected[0, 0], expected[0, 8], expected[0, 16], expected[1, 63] = 2, 1, 1, 2
    assert torch.equal(found, expected)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"seed": -1}, r"seed must be in \[0, 2\^31\), got -1\. Choose"),
        ({"seed": 2**31}, r"seed must be in \[0, 2\^31\), got 2147483648"),
        ({"num_frames": 1}, r"num_frames must be at least 2, got 1\. A motion needs two"),
        ({"side": 80}, r"side must be a multiple of 16 and at least 96, got 80\. Use 96 or 112"),
        ({"side": 100}, "side must be a multiple of 16 and at least 96, got 100"),
    ],
)
def test_what_cannot_be_drawn_is_refused(arguments: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ShapesWorld(**arguments)  # type: ignore[arg-type]


def test_an_unknown_split_is_refused_when_drawn() -> None:
    draw: Callable[..., object] = ShapesWorld(0, "dev").clips  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="split must be one of"):
        draw([0])
