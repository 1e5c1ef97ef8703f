"""The transform against filters written out in float64."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from vidtldr.video.transform import Region, VideoTransform

_IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def triangle(x: float) -> float:
    return max(0.0, 1.0 - abs(x))


def cubic(x: float, a: float) -> float:
    """Keys' cubic; a is -0.5 with antialias (as in Pillow) and -0.75 without (as in OpenCV)."""
    x = abs(x)
    if x < 1:
        return ((a + 2) * x - (a + 3)) * x * x + 1
    return (((x - 5) * x + 8) * x - 4) * a if x < 2 else 0.0


def filter_matrix(old: int, new: int, kind: str, antialias: bool) -> Tensor:
    """Weights (new, old), float64, of resizing one side from `old` to `new` pixels."""
    matrix = torch.zeros(new, old, dtype=torch.float64)
    scale = old / new
    stretch = max(scale, 1.0) if antialias else 1.0
    radius = (1 if kind == "bilinear" else 2) * stretch
    for i in range(new):
        centre = (i + 0.5) * scale - 0.5
        for j in range(math.floor(centre - radius), math.ceil(centre + radius) + 1):
            x = (j - centre) / stretch
            weight = triangle(x) if kind == "bilinear" else cubic(x, -0.5 if antialias else -0.75)
            if antialias and not 0 <= j < old:
                continue  # the filter is cut at the border and normalised below
            matrix[i, min(max(j, 0), old - 1)] += weight
    return matrix / matrix.sum(1, keepdim=True)


def reference_resize(
    frames: Tensor, size: tuple[int, int], kind: str, antialias: bool, two_passes: bool
) -> Tensor:
    """(T, H, W, 3) -> (T, 3, h, w), float64 in [0, 255]; `two_passes` rounds in between."""
    x = frames.permute(0, 3, 1, 2).double()
    x = x @ filter_matrix(x.shape[3], size[1], kind, antialias).T
    if two_passes:
        x = x.round().clamp(0, 255)
    return (filter_matrix(x.shape[2], size[0], kind, antialias) @ x).clamp(0, 255)


def noise(height: int, width: int) -> Tensor:
    return torch.randint(0, 256, (2, height, width, 3), dtype=torch.uint8)


@pytest.mark.parametrize("size", [(24, 24), (31, 40), (60, 90)])
@pytest.mark.parametrize("kind", ["bilinear", "bicubic"])
@pytest.mark.parametrize(
    ("backend", "antialias"), [("torch", True), ("torch", False), ("pillow", True)]
)
def test_resizing_equals_the_filters_in_float64(
    backend: str, antialias: bool, kind: str, size: tuple[int, int]
) -> None:
    frames = noise(47, 63)
    transform = VideoTransform(
        size,
        None,
        kind,
        antialias,
        backend,
        rescale_factor=None,  # type: ignore[arg-type]
    )
    x = transform(frames).double()
    assert torch.equal(x, x.round())
    expected = reference_resize(frames, size, kind, antialias, two_passes=antialias)
    # The result is rounded: half a level. With antialias the picture is rounded between its two
    # passes, too: where fixed-point weights turn a tie there, one level times the largest weight.
    carried = filter_matrix(47, size[0], kind, antialias).abs().max() if antialias else 0.0
    assert (x - expected).abs().max() <= 0.5 + carried + 0.05


@pytest.mark.parametrize("backend", ["torch", "pillow"])
def test_nearest_takes_the_pixel_under_the_centre(backend: str) -> None:
    frames = noise(20, 30)
    transform = VideoTransform(
        (7, 12),
        interpolation="nearest",
        backend=backend,
        rescale_factor=None,  # type: ignore[arg-type]
    )
    rows = [int((i + 0.5) * 20 / 7) for i in range(7)]
    columns = [int((i + 0.5) * 30 / 12) for i in range(12)]
    expected = frames[:, rows][:, :, columns].permute(0, 3, 1, 2).float()
    assert torch.equal(transform(frames), expected)


def test_the_protocol_of_vid_tldr_in_float64() -> None:
    frames = noise(90, 120)
    mean, std = _IMAGENET
    transform = VideoTransform(
        (56, 56), None, "bicubic", antialias=False, rescale_factor=1 / 255, mean=mean, std=std
    )
    levels = reference_resize(frames, (56, 56), "bicubic", antialias=False, two_passes=False)
    column = torch.tensor([mean, std], dtype=torch.float64)[:, :, None, None]
    expected = (levels / 255 - column[0]) / column[1]
    one_level = 1 / 255 / min(std)
    assert (transform(frames) - expected).abs().max() <= 0.51 * one_level


def test_bicubic_without_antialias_is_clamped_not_wrapped() -> None:
    frames = torch.zeros(1, 8, 8, 3, dtype=torch.uint8)
    frames[:, :, 4:] = 255  # a cubic overshoots at the edge
    x = VideoTransform((13, 13), None, "bicubic", False, rescale_factor=None)(frames)
    assert x[..., :5].max() < 60
    assert x[..., 8:].min() > 195


@pytest.mark.parametrize(
    ("height", "width", "resized"),
    [
        (240, 320, (224, 298)),
        (320, 240, (298, 224)),
        (36, 640, (224, 3982)),
        (224, 224, (224, 224)),
    ],
)
def test_the_shorter_side_gets_the_length(
    height: int, width: int, resized: tuple[int, int]
) -> None:
    x = VideoTransform(resize=224)(noise(height, width))
    assert x.shape == (2, 3, *resized)


def test_the_crop_is_the_centre() -> None:
    frames = noise(11, 14)
    x = VideoTransform(crop=(4, 5), rescale_factor=None)(frames)
    assert torch.equal(x, frames[:, 3:7, 4:9].permute(0, 3, 1, 2).float())


def test_numbers_are_rescaled_then_normalised() -> None:
    frames = noise(5, 6)
    x = VideoTransform(rescale_factor=1 / 127.5, rescale_offset=True, mean=0.5, std=(0.5, 1, 2))(
        frames
    )
    std = torch.tensor([0.5, 1, 2]).view(3, 1, 1)
    expected = (frames.permute(0, 3, 1, 2).double() / 127.5 - 1 - 0.5) / std
    assert (x - expected).abs().max() < 1e-5
    assert x.dtype == torch.float32


def test_nothing_asked_changes_nothing() -> None:
    frames = noise(5, 6)
    x = VideoTransform(rescale_factor=None)(frames)
    assert torch.equal(x, frames.permute(0, 3, 1, 2).float())


@pytest.mark.parametrize("backend", ["torch", "pillow"])
def test_one_frame_alone_equals_that_frame_in_a_clip(backend: str) -> None:
    frames = noise(30, 41)
    transform = VideoTransform(24, (20, 20), backend=backend, mean=0.5, std=0.5)  # type: ignore[arg-type]
    assert torch.equal(transform(frames)[1:], transform(frames[1:]))
    turned = frames.transpose(1, 2).contiguous().transpose(1, 2)
    assert torch.equal(transform(turned), transform(frames))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"resize": 0}, "resize must be an int or (height, width) in pixels above 0, got 0"),
        ({"resize": (3,)}, "resize must be an int or (height, width)"),
        ({"resize": 2.5}, "resize must be an int or (height, width)"),
        ({"crop": 224}, "crop must be (height, width) in pixels above 0, got 224"),
        ({"interpolation": "lanczos"}, "interpolation must be one of bilinear, bicubic, nearest"),
        ({"backend": "cv2"}, "backend must be one of torch, pillow, got 'cv2'"),
        ({"backend": "pillow", "antialias": False}, "antialias must be True for backend 'pillow'"),
        ({"rescale_factor": 0}, "rescale_factor must be above 0, got 0"),
        ({"rescale_factor": None, "rescale_offset": True}, "rescale_offset must be False"),
        ({"mean": 0.5}, "mean and std must be given together, got 0.5 and None"),
        ({"mean": (0.5, 0.5), "std": 1.0}, "mean must be a number or 3 of them, got (0.5, 0.5)"),
        ({"mean": 0.5, "std": (1.0, 0, 1.0)}, "std must not be 0, got (1.0, 0, 1.0)"),
    ],
)
def test_wrong_settings_are_named(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        VideoTransform(**settings)
    assert message in str(caught.value)


def test_a_crop_larger_than_the_frame_is_refused() -> None:
    with pytest.raises(ValueError, match=r"crop must fit into the frame of \(224, 298\)"):
        VideoTransform(resize=224, crop=(256, 256))(noise(240, 320))


@pytest.mark.parametrize("shape", [(4, 4, 3), (1, 3, 4, 4), (0, 4, 4, 3), (1, 4, 4, 1)])
def test_frames_must_be_channels_last(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"frames must be \(T, H, W, 3\), got"):
        VideoTransform()(torch.zeros(shape, dtype=torch.uint8))


def test_frames_must_be_uint8() -> None:
    with pytest.raises(TypeError, match=r"frames must be uint8, got torch.float32"):
        VideoTransform()(torch.zeros(1, 4, 4, 3))


def test_the_region_that_is_seen_is_told_in_pixels_of_the_picture() -> None:
    """A picture of 60 x 100 whose shorter side becomes 30, of which the centre 20 x 20 is cut."""
    transform = VideoTransform(resize=30, crop=(20, 20))
    assert transform.seen_region(60, 100) == Region(10, 30, 40, 40)
    assert VideoTransform(resize=(8, 8)).seen_region(60, 100) == Region(0, 0, 60, 100)
    assert VideoTransform(crop=(50, 51)).seen_region(60, 100) == Region(5, 24, 50, 51)
    with pytest.raises(ValueError, match="crop must fit into the frame"):
        VideoTransform(crop=(50, 51)).seen_region(60, 9)


def test_what_is_cut_out_is_what_the_model_gets() -> None:
    frames = torch.randint(0, 256, (1, 40, 70, 3), dtype=torch.uint8)
    transform = VideoTransform(crop=(20, 31), rescale_factor=None)
    top, left, height, width = (int(edge) for edge in transform.seen_region(40, 70))
    expected = frames[0, top : top + height, left : left + width]
    assert torch.equal(transform(frames)[0].permute(1, 2, 0), expected.float())
