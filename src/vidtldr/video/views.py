"""The views of a video in a multi-view test: segments in time, crops in space.

Letters: `T` frames of a view, `H` and `W` a frame once resized, `h` and `w` as the model takes it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from torch import Tensor

from vidtldr.video.decode import Clip
from vidtldr.video.sampling import validate_count
from vidtldr.video.transform import VideoTransform
from vidtldr.video.view_sampling import AnySampling, SegmentSampling

__all__ = ["View", "Views", "crop_corners"]


def crop_corners(
    height: int, width: int, crop: tuple[int, int], num_crops: int
) -> list[tuple[int, int]]:
    """Top left corners (top, left) of crops along the longer side of a frame.

    Crop `i` starts at `int(i * step)` of the longer side, where `step` is the length left over /
    (num_crops - 1), so the outer ones touch the edges. On a square they go from top to bottom.
    Along the shorter side, and if there is only one, they lie in the centre.

    Args:
        height: H.
        width: W.
        crop: (h, w), at most (H, W).
        num_crops: Crops, at least 1.

    Raises:
        ValueError: If the crop does not fit.

    Source: VideoMAE (Tong et al., NeurIPS 2022), its test programs, where the shorter side has the
        length of the crop.
    """
    spare_down, spare_across = height - crop[0], width - crop[1]
    if min(spare_down, spare_across) < 0:
        raise ValueError(
            f"crop must fit into the frame of {(height, width)}, got {crop}. Lower crop: padding "
            "is not done."
        )
    if num_crops == 1:
        return [(spare_down // 2, spare_across // 2)]
    is_upright = height >= width
    step = (spare_down if is_upright else spare_across) / (num_crops - 1)
    places = [int(i * step) for i in range(num_crops)]
    if is_upright:
        return [(place, spare_across // 2) for place in places]
    return [(spare_down // 2, place) for place in places]


class View(NamedTuple):
    """One view of a clip.

    Attributes:
        start: Number of its first frame in the clip.
        top: Upper edge of its crop.
        left: Left edge of its crop.
    """

    start: int
    top: int
    left: int


@dataclass(frozen=True)
class Views:
    """The views of every video: all crops of the first segment, then of the next.

    A video is decoded once for all of them: `read_clip(path, views.sampling,
    transform=views.reading)`.

    Attributes:
        sampling: Which frames; a `Sampling` is one segment.
        transform: The model's own.
        num_crops: Crops of every segment. One is that of the transform. More lie along the longer
            side of frames whose shorter side has the length that the transform gives it; a
            transform that squashes frames to a square resizes the shorter side to that of the
            square instead.

    Raises:
        ValueError: If there are several crops, and the transform has no size for them.
        TypeError: If the number is not an int.
    """

    sampling: AnySampling
    transform: VideoTransform
    num_crops: int = 1

    def __post_init__(self) -> None:
        validate_count("num_crops", self.num_crops)
        if self.transform.fixed_size is None:
            raise ValueError(
                "views must have one size, got a preprocessor config without crop_size. Add it."
            )
        if self.num_crops > 1:
            _validate_for_crops(self.transform)

    @property
    def num_segments(self) -> int:
        """Segments of a video."""
        return self.sampling.num_segments if isinstance(self.sampling, SegmentSampling) else 1

    @property
    def num_views(self) -> int:
        """Views of a video."""
        return self.num_segments * self.num_crops

    @property
    def size(self) -> tuple[int, int]:
        """(h, w) of a view."""
        size = self.transform.fixed_size
        assert size is not None
        return size

    @property
    def reading(self) -> VideoTransform:
        """The transform to read a video with: frames whole, unless there is only one crop."""
        if self.num_crops == 1:
            return self.transform
        resize = self.transform.resize
        side = resize[0] if isinstance(resize, tuple) else resize
        return replace(self.transform, resize=side, crop=None)

    def of(self, clip: Clip) -> tuple[list[View], list[int]]:
        """Find the views of a clip.

        Args:
            clip: As read with `sampling` and `reading`.

        Returns:
            The views that differ, and for each of the `num_views` which of these it is: crops of a
            square, or segments of a very short video, are all the same.

        Raises:
            ValueError: If the frames are smaller than a view.
        """
        height, width = clip.frames.shape[2:]
        corners = crop_corners(height, width, self.size, self.num_crops)
        first: dict[tuple[Sequence[int], tuple[int, int]], int] = {}
        views: list[View] = []
        which: list[int] = []
        for start in range(0, len(clip.indices), self.sampling.num_frames):
            frames = clip.indices[start : start + self.sampling.num_frames]
            for corner in corners:
                number = first.setdefault((frames, corner), len(views))
                if number == len(views):
                    views.append(View(start, *corner))
                which.append(number)
        return views, which

    def pixels(self, clip: Clip, view: View) -> Tensor:
        """Model input of one view, shape (T, 3, h, w), float32."""
        frames = slice(view.start, view.start + self.sampling.num_frames)
        down = slice(view.top, view.top + self.size[0])
        across = slice(view.left, view.left + self.size[1])
        return self.transform.normalised(clip.frames[frames, :, down, across])

    def notes(self, clip: Clip) -> tuple[str, ...]:
        """Say what is unusual about the views of a clip, beyond its own notes."""
        is_uniform = getattr(self.sampling, "policy", None) == "uniform"
        missing = self.sampling.num_frames - clip.num_frames_in_file
        if not is_uniform or missing <= 0:
            return ()
        return (f"too short, with {clip.num_frames_in_file} in all: frames are repeated",)


def _validate_for_crops(transform: VideoTransform) -> None:
    resize, crop = transform.resize, transform.crop
    if isinstance(resize, tuple) and resize[0] != resize[1]:
        raise ValueError(
            f"num_crops must be 1 where frames are resized to {resize}, got more: the length of "
            "their shorter side is not known. Use 1."
        )
    side = resize[0] if isinstance(resize, tuple) else resize
    if crop is not None and side is not None and side < max(crop):
        raise ValueError(
            f"num_crops must be 1 where frames are resized to {side} and a crop is {crop}, got "
            "more: they may not fit. Use 1."
        )
