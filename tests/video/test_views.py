from dataclasses import replace
from pathlib import Path

import pytest
import torch
from support.film import write_film
from torch import Tensor

from vidtldr.video.decode import Clip, read_clip
from vidtldr.video.sampling import Sampling
from vidtldr.video.transform import VideoTransform
from vidtldr.video.view_sampling import SegmentSampling
from vidtldr.video.views import View, Views, crop_corners

VIDEOMAE = VideoTransform(resize=32, crop=(32, 32), mean=(0.4, 0.5, 0.6), std=(0.2, 0.2, 0.3))
VIVIT = replace(VIDEOMAE, resize=36)
SQUASHING = replace(VIDEOMAE, resize=(32, 32), crop=None, interpolation="bicubic", antialias=False)
DENSE, UNIFORM = SegmentSampling(4, 5, "dense", 3), SegmentSampling(4, 2, "uniform")


def test_crops_by_hand() -> None:
    assert crop_corners(32, 61, (32, 32), 3) == [(0, 0), (0, 14), (0, 29)]
    assert crop_corners(61, 32, (32, 32), 3) == [(0, 0), (14, 0), (29, 0)]
    assert crop_corners(36, 61, (32, 32), 2) == [(2, 0), (2, 29)]
    assert crop_corners(36, 61, (32, 32), 1) == [(2, 14)]
    assert crop_corners(36, 36, (32, 32), 3) == [(0, 2), (2, 2), (4, 2)]


def test_a_crop_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match=r"crop must fit into the frame of \(20, 40\), got \(32"):
        crop_corners(20, 40, (32, 32), 3)


def every_view_slowly(path: Path, views: Views, sampled: list[list[int]]) -> list[Tensor]:
    """Decode all frames, resize each, and cut every view out, as VideoMAE's loader does."""
    count = read_clip(path, Sampling(1), seeks=False).num_frames_in_file
    frames = read_clip(path, Sampling(count), seeks=False).frames
    transform, (side, _) = views.transform, views.size
    short = transform.resize[0] if isinstance(transform.resize, tuple) else transform.resize
    whole = replace(transform, resize=short, crop=None, mean=None, std=None, rescale_factor=None)
    found = []
    for segment in sampled:
        x = torch.stack([whole(frames[index : index + 1])[0] for index in segment])
        height, width = x.shape[2:]
        step = (max(height, width) - side) / (views.num_crops - 1)
        margin = (min(height, width) - side) // 2
        for number in range(views.num_crops):
            start = int(number * step)
            top, left = (start, margin) if height >= width else (margin, start)
            crop = x[:, :, top : top + side, left : left + side]
            mean, std = (torch.tensor(v)[:, None, None] for v in (transform.mean, transform.std))
            found.append((crop / 255 - mean) / std)
    return found


@pytest.mark.parametrize("size", [(146, 38), (38, 146), (48, 48), (66, 50)])
@pytest.mark.parametrize("transform", [VIDEOMAE, VIVIT, SQUASHING])
@pytest.mark.parametrize("sampling", [DENSE, UNIFORM], ids=["dense", "uniform"])
def test_views_are_what_is_cut_out_of_all_frames(
    tmp_path: Path, size: tuple[int, int], transform: VideoTransform, sampling: SegmentSampling
) -> None:
    path = write_film(tmp_path / "film.mp4", 33, size=size, options={"g": "8", "bf": "2"})
    views = Views(sampling, transform, 3)
    clip = read_clip(path, sampling, transform=views.reading)
    distinct, which = views.of(clip)
    indices = sampling.indices(33)
    segments = [indices[start : start + 4] for start in range(0, len(indices), 4)]
    expected = every_view_slowly(path, views, segments)
    assert len(which) == len(expected) == views.num_views
    for number, pixels in zip(which, expected, strict=True):
        found = views.pixels(clip, distinct[number])
        assert found.shape == (4, 3, 32, 32)
        torch.testing.assert_close(found, pixels, rtol=1e-5, atol=1e-5)


def test_one_crop_is_that_of_the_transform(tmp_path: Path) -> None:
    path = write_film(tmp_path / "film.mp4", 33)
    for transform in (VIDEOMAE, VIVIT, SQUASHING):
        views = Views(DENSE, transform)
        clip = read_clip(path, DENSE, transform=views.reading)
        distinct, which = views.of(clip)
        assert which == [0, 1, 2, 3, 4]
        frames = read_clip(path, DENSE).frames
        found = torch.cat([views.pixels(clip, view) for view in distinct])
        assert found.equal(transform(frames))


def test_one_view_is_what_the_model_gets_everywhere(tmp_path: Path) -> None:
    path = write_film(tmp_path / "film.mp4", 33)
    views = Views(Sampling(4), VIDEOMAE)
    clip = read_clip(path, views.sampling, transform=views.reading)
    [view], [number] = views.of(clip)
    assert (view, number, views.num_views) == (View(0, 0, 0), 0, 1)
    assert views.pixels(clip, view).equal(VIDEOMAE(read_clip(path, Sampling(4)).frames))


def of_film(path: Path, views: Views) -> tuple[Clip, list[View], list[int]]:
    clip = read_clip(path, views.sampling, transform=views.reading)
    return clip, *views.of(clip)


def test_equal_views_are_there_once(tmp_path: Path) -> None:
    square = write_film(tmp_path / "square.mp4", 33, size=(48, 48))
    _, views, which = of_film(square, Views(DENSE, VIDEOMAE, 3))
    assert [view.start for view in views] == [0, 4, 8, 12, 16]
    assert which == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4]
    short = write_film(tmp_path / "short.mp4", 9)
    _, views, which = of_film(short, Views(DENSE, VIDEOMAE, 3))
    assert [view.start for view in views] == [0, 0, 0]
    assert which == [0, 1, 2] * 5


def test_a_short_film_is_said(tmp_path: Path) -> None:
    path = write_film(tmp_path / "short.mp4", 3)
    uniform = Views(UNIFORM, VIDEOMAE, 3)
    clip, *_ = of_film(path, uniform)
    assert clip.notes == ()
    assert uniform.notes(clip) == ("too short, with 3 in all: frames are repeated",)
    dense = Views(DENSE, VIDEOMAE, 3)
    clip, *_ = of_film(path, dense)
    assert clip.notes == ("too short, with 3 in all: last frame repeated 3 times",)
    assert dense.notes(clip) == ()


@pytest.mark.parametrize(
    ("transform", "num_crops", "error", "message"),
    [
        (replace(VIDEOMAE, crop=None), 3, ValueError, "without crop_size"),
        (replace(SQUASHING, resize=(32, 40)), 3, ValueError, r"resized to \(32, 40\)"),
        (replace(VIDEOMAE, resize=30), 3, ValueError, r"resized to 30 and a crop is \(32, 32\)"),
        (VIDEOMAE, 0, ValueError, "num_crops must be at least 1, got 0"),
        (VIDEOMAE, 1.5, TypeError, "num_crops must be an int"),
    ],
)
def test_views_that_a_model_cannot_take_are_refused(
    transform: VideoTransform, num_crops: int, error: type, message: str
) -> None:
    with pytest.raises(error, match=message):
        Views(DENSE, transform, num_crops)


def test_a_film_smaller_than_the_crop_is_refused(tmp_path: Path) -> None:
    path = write_film(tmp_path / "film.mp4", 5, size=(146, 20))
    views = Views(DENSE, replace(VIDEOMAE, resize=None), 3)
    clip = read_clip(path, DENSE, transform=views.reading)
    with pytest.raises(ValueError, match="crop must fit"):
        views.of(clip)
