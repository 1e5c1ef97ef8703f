"""Turn frames into model input: resize, crop, rescale, normalise.

Letters: `T` frames, `H` and `W` the picture as decoded, `h` and `w` as the model takes it.
"""

import os
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from vidtldr.video.processor_config import read_processor_config

__all__ = ["Region", "VideoTransform"]

Interpolation = Literal["bilinear", "bicubic", "nearest"]
Backend = Literal["torch", "pillow"]

_TORCH_MODES = {"bilinear": "bilinear", "bicubic": "bicubic", "nearest": "nearest-exact"}
_PILLOW_MODES = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "nearest": Image.Resampling.NEAREST,
}


class Region(NamedTuple):
    """A rectangular part of a picture, in pixels; edges may be fractional.

    Attributes:
        top: Its upper edge.
        left: Its left edge.
        height: Its height.
        width: Its width.
    """

    top: float
    left: float
    height: float
    width: float


@dataclass(frozen=True)
class VideoTransform:
    """Preprocessing steps applied to every frame, in this order.

    Attributes:
        resize: Length of the shorter side, in pixels, keeping the aspect ratio and rounding the
            longer side down; or (height, width), ignoring the aspect ratio; None keeps the size.
            The result of resizing is rounded to uint8.
        crop: (height, width) of the centre crop, in pixels; None crops nothing.
        interpolation: Filter of the resize.
        antialias: Widen the filter when downscaling; "nearest" has no filter to widen. With
            antialias the torch backend computes as torchvision's v2 functions do (in uint8 on the
            CPU), without it as the v1 functions do (float32, clamped, rounded): Hugging Face's
            processors use the former, the authors of vid-TLDR the latter.
        backend: "torch" resizes as torchvision does, "pillow" with Pillow, always antialiased.
        rescale_factor: Factor on the pixel values; None leaves them in 0 to 255.
        rescale_offset: Subtract 1 after rescaling (ViViT).
        mean: Subtracted from each channel, one number or 3; None for no normalisation.
        std: Divides each channel; given exactly when `mean` is.

    Raises:
        ValueError: If a value is out of range or two are incompatible.
    """

    resize: int | tuple[int, int] | None = None
    crop: tuple[int, int] | None = None
    interpolation: Interpolation = "bilinear"
    antialias: bool = True
    backend: Backend = "torch"
    rescale_factor: float | None = 1 / 255
    rescale_offset: bool = False
    mean: float | tuple[float, ...] | None = None
    std: float | tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        _validate_choice("interpolation", self.interpolation, get_args(Interpolation))
        _validate_choice("backend", self.backend, get_args(Backend))
        if self.resize is not None:
            _validate_size("resize", self.resize, (int, tuple))
        if self.crop is not None:
            _validate_size("crop", self.crop, (tuple,))
        if self.backend == "pillow" and not self.antialias:
            raise ValueError(
                "antialias must be True for backend 'pillow', got False. Use backend 'torch'."
            )
        if self.rescale_factor is not None and not self.rescale_factor > 0:
            raise ValueError(
                f"rescale_factor must be above 0, got {self.rescale_factor!r}. Use None for none."
            )
        if self.rescale_offset and self.rescale_factor is None:
            raise ValueError(
                "rescale_offset must be False without rescale_factor, got True. Give a factor."
            )
        _validate_mean_std(self.mean, self.std)

    @classmethod
    def from_pretrained(cls, directory: str | os.PathLike[str]) -> "VideoTransform":
        """Make the transform that a model directory's processor applies to pixels.

        Supports the image and video processors of the supported families, old and new. An unknown
        class or key is an error, never a guess.

        Args:
            directory: Folder with `video_preprocessor_config.json`, which is preferred,
                `preprocessor_config.json` or `processor_config.json`.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If the file contains something unknown.
        """
        return cls(**read_processor_config(directory))

    def __call__(self, frames: Tensor) -> Tensor:
        """Transform frames into model input.

        Args:
            frames: uint8 RGB, shape (T, H, W, 3), T at least 1.

        Returns:
            Model input, float32, shape (T, 3, h, w), on the device of `frames`.

        Raises:
            ValueError: If `frames` is not (T, H, W, 3) or is smaller than the crop.
            TypeError: If `frames` is not uint8.
        """
        return self.normalised(self.resized(frames))

    def resized(self, frames: Tensor) -> Tensor:
        """The first half of the transform: resize and crop, frame by frame.

        The result takes a quarter of the memory of the model input, so this is what is passed
        between processes.

        Args:
            frames: As in `__call__`.

        Returns:
            uint8, shape (T, 3, h, w), on the device of `frames`.

        Raises:
            ValueError, TypeError: As in `__call__`.
        """
        _validate_frames(frames)
        height, width = self._output_size(frames.shape[1], frames.shape[2])
        x = frames.new_empty(len(frames), 3, height, width)
        for target, frame in zip(x, frames, strict=True):
            target.copy_(self._cropped(self._resized(frame)))
        return x

    def seen_region(self, height: int, width: int) -> Region:
        """The part of a picture that the model sees: all of it, or only the crop.

        Args:
            height: H of the picture as decoded.
            width: W of the picture as decoded.

        Raises:
            ValueError: If the picture is smaller than the crop.
        """
        seen_height, seen_width = self._output_size(height, width)
        resized_height, resized_width = self._resized_size(height, width)
        down, across = height / resized_height, width / resized_width
        return Region(
            (resized_height - seen_height) // 2 * down,
            (resized_width - seen_width) // 2 * across,
            seen_height * down,
            seen_width * across,
        )

    def normalised(self, x: Tensor) -> Tensor:
        """The second half of the transform: rescale and normalise the result of `resized`.

        Args:
            x: uint8, shape (..., 3, h, w), on any device.

        Returns:
            float32, the same shape and device.
        """
        return self._scale(x)

    @property
    def fixed_size(self) -> tuple[int, int] | None:
        """(height, width) of the result; None if it depends on the video."""
        if self.crop is not None:
            return self.crop
        return self.resize if isinstance(self.resize, tuple) else None

    def _resized_size(self, height: int, width: int) -> tuple[int, int]:
        if self.resize is None:
            return height, width
        if isinstance(self.resize, tuple):
            return self.resize
        if width <= height:
            return int(self.resize * height / width), self.resize
        return self.resize, int(self.resize * width / height)

    def _output_size(self, height: int, width: int) -> tuple[int, int]:
        size = self._resized_size(height, width)
        if self.crop is None:
            return size
        if self.crop[0] > size[0] or self.crop[1] > size[1]:
            raise ValueError(
                f"crop must fit into the frame of {size} after resizing, got {self.crop}. "
                "Lower crop or raise resize: padding is not done."
            )
        return self.crop

    def _resized(self, frame: Tensor) -> Tensor:
        """(H, W, 3) -> (3, resized H, resized W), uint8."""
        size = self._resized_size(frame.shape[0], frame.shape[1])
        x = frame.permute(2, 0, 1).contiguous()
        if size == tuple(x.shape[1:]):
            return x
        if self.backend == "pillow":
            return _resize_with_pillow(frame, size, self.interpolation)
        return _resize_with_torch(x, size, self.interpolation, self.antialias)

    def _cropped(self, x: Tensor) -> Tensor:
        if self.crop is None:
            return x
        top = (x.shape[1] - self.crop[0]) // 2
        left = (x.shape[2] - self.crop[1]) // 2
        return x[:, top : top + self.crop[0], left : left + self.crop[1]]

    def _scale(self, x: Tensor) -> Tensor:
        """Rescale and normalise with the same rounding as the original processor."""
        fuse = self.backend == "torch" and self.mean is not None and not self.rescale_offset
        factor = self.rescale_factor
        if factor is not None and not fuse:
            # numpy multiplies in float64 in the Pillow processors
            x = (x.double() * factor).float() if self.backend == "pillow" else x.float() * factor
        if self.rescale_offset:
            x = x - 1
        if self.mean is None or self.std is None:
            return x.float()
        unit = 1.0 / factor if factor is not None and fuse else 1.0
        mean, std = (_per_channel(value, x) * unit for value in (self.mean, self.std))
        return (x.float() - mean) / std


def _resize_with_torch(x: Tensor, size: tuple[int, int], mode: str, antialias: bool) -> Tensor:
    antialias = antialias and mode != "nearest"
    native = mode == "nearest" or (antialias and x.device.type == "cpu")
    resized = F.interpolate(
        x[None] if native else x[None].float(),
        size=size,
        mode=_TORCH_MODES[mode],
        align_corners=None if mode == "nearest" else False,
        antialias=antialias,
    )[0]
    return resized if native else resized.clamp(0, 255).round().to(torch.uint8)


def _resize_with_pillow(frame: Tensor, size: tuple[int, int], mode: str) -> Tensor:
    picture = Image.fromarray(np.ascontiguousarray(frame.cpu().numpy()))
    resized = picture.resize((size[1], size[0]), resample=_PILLOW_MODES[mode])
    return torch.from_numpy(np.array(resized)).permute(2, 0, 1).to(frame.device)


def _per_channel(value: float | tuple[float, ...], x: Tensor) -> Tensor:
    """(3,) or () -> (3, 1, 1) or ()."""
    channels = torch.tensor(value, dtype=torch.float32, device=x.device)
    return channels[:, None, None] if channels.ndim else channels


def _validate_frames(frames: Tensor) -> None:
    if frames.dtype != torch.uint8:
        raise TypeError(f"frames must be uint8, got {frames.dtype}. Pass Clip.frames.")
    if frames.ndim != 4 or frames.shape[3] != 3 or 0 in frames.shape:
        raise ValueError(
            f"frames must be (T, H, W, 3), got {tuple(frames.shape)}. Pass Clip.frames."
        )


def _validate_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValueError(
            f"{name} must be one of {', '.join(choices)}, got {value!r}. Use one of these."
        )


def _validate_size(name: str, value: object, kinds: tuple[type, ...]) -> None:
    sides = value if isinstance(value, tuple) else (value, value)
    whole = all(isinstance(side, int) and not isinstance(side, bool) for side in sides)
    if not isinstance(value, kinds) or len(sides) != 2 or not whole or min(sides) < 1:
        shapes = "an int or (height, width)" if int in kinds else "(height, width)"
        raise ValueError(
            f"{name} must be {shapes} in pixels above 0, got {value!r}. Use None for no {name}."
        )


def _validate_mean_std(mean: object, std: object) -> None:
    if (mean is None) != (std is None):
        raise ValueError(
            f"mean and std must be given together, got {mean!r} and {std!r}. Give both or neither."
        )
    for name, value in (("mean", mean), ("std", std)):
        if isinstance(value, tuple) and len(value) != 3:
            raise ValueError(
                f"{name} must be a number or 3 of them, got {value!r}. Give one for each channel."
            )
    if 0 in (std if isinstance(std, tuple) else (std,)):
        raise ValueError(f"std must not be 0, got {std!r}. Use 1 to leave the scale.")
