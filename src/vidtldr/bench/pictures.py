"""Read photos, their masks and frames of videos at the one size that a model takes.

Letters: `T` frames (1 for a photo), `S` side of a picture in pixels.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from vidtldr.bench.picture_files import PictureFile
from vidtldr.tasks.clip_reader import IMAGENET_MEAN, IMAGENET_STD
from vidtldr.tasks.fingerprint import file_sha256
from vidtldr.video.decode import read_clip
from vidtldr.video.local_file import (
    validate_num_pixels,
    validate_regular_file,
    video_error,
    video_errors,
)
from vidtldr.video.sampling import Sampling
from vidtldr.video.transform import VideoTransform

__all__ = ["Picture", "read_picture"]

_DEEP_MODES = ("I", "F")  # prefixes of Pillow's modes of more than 8 bits a channel
_WHITE = 128  # of 255: the least value that counts as foreground in a mask


@dataclass(frozen=True, eq=False)
class Picture:
    """A photo, or some frames of a video.

    Attributes:
        name: As in its `PictureFile`.
        sha256: Hash of the file, then of the mask's file if there is one.
        pixel_values: Normalised pixels, shape (T, 3, S, S), float32.
        mask: True foreground, shape (S, S), bool; None if unknown.
        notes: Everything unusual about a video, one sentence each.
    """

    name: str
    sha256: tuple[str, ...]
    pixel_values: Tensor
    mask: Tensor | None
    notes: tuple[str, ...] = ()


def read_picture(file: PictureFile, side: int, num_frames: int) -> Picture:
    """Read a photo or frames of a video, resize them to a square and normalise them.

    Their aspect ratio is not kept.

    Args:
        file: The photo or video.
        side: S.
        num_frames: Frames to take from a video: the middle frames of as many equal parts.

    Raises:
        VideoError: If the file or its mask cannot be read, or the mask has a single class or
            another aspect ratio.
    """
    transform = VideoTransform(resize=(side, side), mean=IMAGENET_MEAN, std=IMAGENET_STD)
    path = str(file.path)
    size: tuple[int, int] | None = None
    notes: tuple[str, ...] = ()
    if file.is_video:
        clip = read_clip(path, Sampling(num_frames), transform=transform)
        frames, notes = clip.frames, clip.notes
    else:
        validate_regular_file(path)
        with video_errors(path):
            pixels = _pixels(file.path)
            frames = transform.resized(pixels[None])
            size = pixels.shape[1], pixels.shape[0]
    mask = None if file.mask is None else _read_mask(file.mask, side, size)
    with video_errors(path):
        read = [file.path] if file.mask is None else [file.path, file.mask]
        digests = tuple(map(file_sha256, read))
    return Picture(file.name, digests, transform.normalised(frames), mask, notes)


def _pixels(path: Path) -> Tensor:
    """Read a photo upright, uint8 (H, W, 3)."""
    with _opened(path) as picture:
        return torch.from_numpy(np.array(ImageOps.exif_transpose(picture).convert("RGB")))


def _read_mask(path: Path, side: int, size: tuple[int, int] | None) -> Tensor:
    """Read the mask of a photo of this width and height, bool (S, S)."""
    validate_regular_file(str(path))
    with video_errors(str(path)), _opened(path) as picture:
        grey = ImageOps.exif_transpose(picture).convert("L")
        small = grey.resize((side, side), Image.Resampling.BILINEAR)
        mask = torch.from_numpy(np.array(small)) >= _WHITE
        if mask.all() or not mask.any():
            raise video_error(
                str(path),
                f"a mask must have both white (at least {_WHITE}) and black, got one of them",
                "Paint the foreground white (255) and the rest black.",
            )
        if size is not None:
            _validate_proportions(path, grey.size, size)
    return mask


def _validate_proportions(path: Path, of_mask: tuple[int, int], of_photo: tuple[int, int]) -> None:
    """Check that one is the other scaled, where each side may be rounded to a pixel."""
    (width, height), (photo_width, photo_height) = of_mask, of_photo
    if abs(width * photo_height - height * photo_width) > photo_width + photo_height:
        raise video_error(
            str(path),
            f"as a mask it must have the proportions of its photo of {photo_width}x{photo_height}, "
            f"got {width}x{height}",
            "Check that it belongs to it, and that neither is cropped or turned.",
        )


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """Open a picture that holds nothing but colours of 8 bits."""
    # Pillow warns of what is an error here.
    with warnings.catch_warnings(action="ignore"), Image.open(path) as picture:
        _validate_picture(path, picture)
        yield picture


def _validate_picture(path: Path, picture: Image.Image) -> None:
    validate_num_pixels(*picture.size)
    if picture.mode.startswith(_DEEP_MODES):
        raise video_error(
            str(path),
            f"it has more than 8 bits a channel (mode {picture.mode})",
            "Save it with 8 bits.",
        )
    has_alpha = picture.mode.endswith(("A", "a")) or "transparency" in picture.info
    if has_alpha and np.array(picture.convert("RGBA"))[..., 3].min() < 255:
        raise video_error(
            str(path),
            "it has transparent pixels, whose colours nobody sees",
            "Save it on a background, without transparency.",
        )
