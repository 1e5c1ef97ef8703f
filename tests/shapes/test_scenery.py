from math import cos, pi, sqrt

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from vidtldr.shapes.draws import Draws
from vidtldr.shapes.scenery import (
    MAX_SHAKE,
    PATTERNS,
    _windows,
    add_noise,
    camera_shake,
    compress,
    draw_background,
    light,
)

LUMA = torch.tensor([0.299, 0.587, 0.114], dtype=torch.float64)


class SameStep(Draws):
    """Draws whose `between` is one number, the same for every clip."""

    def __init__(self, step: float, num_clips: int) -> None:
        super().__init__(0, "train", torch.arange(num_clips))
        self.step = step

    def between(self, name: str, low: float, high: float, *shape: int) -> Tensor:
        return torch.full((len(self.keys), *shape), self.step)


def draws_of(count: int) -> Draws:
    return Draws(0, "train", torch.arange(count))


def times(num_frames: int) -> Tensor:
    return torch.linspace(-1, 1, num_frames)


def test_splits_have_patterns_of_their_own() -> None:
    own = [set(PATTERNS[split]) for split in ("train", "validation", "test")]
    assert not own[0] & own[1]
    assert not own[0] & own[2]
    assert not own[1] & own[2]
    assert PATTERNS["unseen"] == PATTERNS["train"]


def test_backgrounds_differ_by_split_and_clip_alone() -> None:
    draws = draws_of(6)
    shake = torch.zeros(6, 2, 2)
    train, test = (
        draw_background(draws, split, shake, times(2), 96) for split in ("train", "test")
    )
    assert train.shape == (6, 2, 3, 96, 96)
    assert min(train.min(), test.min()) >= 0
    assert max(train.max(), test.max()) <= 1
    assert ((train - test).abs().mean(dim=(1, 2, 3, 4)) > 0.01).all()
    assert ((train[1:] - train[:-1]).abs().mean(dim=(1, 2, 3, 4)) > 0.01).all()
    unseen = draw_background(draws, "unseen", shake, times(2), 96)
    assert torch.equal(train, unseen)  # only other factors


def test_a_background_is_busy_and_wanders() -> None:
    draws = draws_of(30)
    frames = draw_background(draws, "train", camera_shake(draws, 8), times(8), 96)
    assert (frames.std(dim=(2, 3, 4)) > 0.02).all()
    moved = (frames[:, 1:] - frames[:, :-1]).abs().mean(dim=(1, 2, 3, 4))
    assert (moved > 0).double().mean() > 0.9


def test_windows_are_slices() -> None:
    canvas = torch.rand(3, 3, 20, 20)
    offset = torch.randint(0, 9, (3, 2, 2))
    found = _windows(canvas, offset, 11)
    for clip in range(3):
        for frame in range(2):
            x, y = offset[clip, frame].tolist()
            assert torch.equal(found[clip, frame], canvas[clip, :, y : y + 11, x : x + 11])


def test_the_camera_shakes_within_bounds() -> None:
    shake = camera_shake(draws_of(500), 8)
    assert shake.shape == (500, 8, 2)
    assert 0.9 * MAX_SHAKE < shake.abs().max() <= MAX_SHAKE


def test_light_scales_whole_frames_within_bounds() -> None:
    frames = torch.rand(200, 5, 3, 16, 16) + 0.1
    ratio = light(draws_of(200), frames, times(5)) / frames
    assert_close(ratio, ratio[:, :, :1, :1, :1].expand_as(ratio))
    level = ratio[:, :, 0, 0, 0]
    assert level.min() >= 0.85 - 0.12
    assert level.max() <= 1.1 + 0.12
    assert (level.diff(dim=1).sign() == level.diff(dim=1)[:, :1].sign()).all()  # waxes or wanes


def test_noise_is_bounded_and_rolls_from_frame_to_frame() -> None:
    frames = torch.rand(50, 4, 3, 16, 16)
    grain = add_noise(draws_of(50), frames, torch.arange(4)) - frames
    assert grain.abs().max() <= 0.08 + 1e-6
    assert grain.mean(dim=(1, 2, 3, 4)).abs().max() < 0.01
    assert_close(grain[:, :, 0], grain[:, :, 2], atol=1e-6, rtol=0)  # grey
    assert_close(grain[:, 0].roll((3 * 37, 3 * 53), (2, 3)), grain[:, 3], atol=1e-6, rtol=0)
    late = add_noise(draws_of(50), frames[:, 3:], torch.tensor([3])) - frames[:, 3:]
    assert_close(late[:, 0], grain[:, 3], atol=1e-6, rtol=0)  # by its number in the clip
    strongest = grain.abs().amax(dim=(1, 2, 3, 4))
    assert strongest.max() > 2 * strongest.min()


def luma_of(frames: Tensor) -> Tensor:
    return torch.einsum("btchw,c->bthw", frames.double(), LUMA)


def test_a_tiny_step_keeps_the_luma_and_halves_the_colour() -> None:
    frames = torch.rand(2, 3, 3, 32, 32)
    found = compress(SameStep(1e-5, 2), frames)
    assert_close(luma_of(found), luma_of(frames), atol=1e-3, rtol=0)
    chroma = frames.double() - luma_of(frames)[:, :, None]
    for y, x in ((0, 0), (6, 10), (30, 30)):
        mean = chroma[..., y : y + 2, x : x + 2].mean(dim=(-2, -1), keepdim=True)
        block = (found.double() - luma_of(found)[:, :, None])[..., y : y + 2, x : x + 2]
        assert_close(block, mean.expand_as(block), atol=1e-3, rtol=0)


def block_reference(block: list[list[float]], step: float) -> list[list[float]]:
    """Cosine transform of 8 x 8 values, rounded and back, by the definition, in float64."""
    scale = [sqrt(1 / 8)] + [sqrt(2 / 8)] * 7
    wave = [[scale[k] * cos(pi * (n + 0.5) * k / 8) for n in range(8)] for k in range(8)]
    spectrum = [[0.0] * 8 for _ in range(8)]
    for u in range(8):
        for v in range(8):
            total = sum(wave[u][y] * wave[v][x] * block[y][x] for y in range(8) for x in range(8))
            coarse = step * (1 + u + v)
            spectrum[u][v] = round(total / coarse) * coarse
    return [
        [
            sum(wave[u][y] * wave[v][x] * spectrum[u][v] for u in range(8) for v in range(8))
            for x in range(8)
        ]
        for y in range(8)
    ]


def test_luma_is_rounded_as_a_slow_reference_rounds_it() -> None:
    frames = torch.rand(1, 1, 3, 16, 16)
    luma, found = luma_of(frames)[0, 0], luma_of(compress(SameStep(0.09, 1), frames))[0, 0]
    for y in (0, 8):
        for x in (0, 8):
            expected = block_reference(luma[y : y + 8, x : x + 8].tolist(), 0.09)
            block = torch.tensor(expected, dtype=torch.float64)
            assert_close(found[y : y + 8, x : x + 8], block, atol=1e-5, rtol=0)
            assert (block - luma[y : y + 8, x : x + 8]).abs().max() > 0.02  # it loses something


@pytest.mark.parametrize("strength", [0.02, 0.12])
def test_compression_loses_little(strength: float) -> None:
    frames = torch.rand(2, 2, 3, 48, 48)
    error = (luma_of(compress(SameStep(strength, 2), frames)) - luma_of(frames)).abs()
    steps = [strength * (1 + u + v) for u in range(8) for v in range(8)]
    # rounding moves a coefficient by half its step at most, and so a pixel by an eighth of it
    assert error.max() <= sum(steps) / 8
    # the transform keeps squares; even errors of rounding have a variance of step² / 12
    even = sum(step**2 / 12 for step in steps) / 64
    assert error.square().mean() < 1.2 * even
