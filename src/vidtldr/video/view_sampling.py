"""Choose the frames of the segments of a multi-view test.

Indices count frames in display order, as in `vidtldr.video.sampling`.
"""

from dataclasses import dataclass
from typing import Literal, get_args

from vidtldr.video.sampling import Sampling, validate_count, validate_num_frames

__all__ = [
    "AnySampling",
    "SegmentPolicy",
    "SegmentSampling",
    "dense_segments",
    "uniform_segments",
]

SegmentPolicy = Literal["dense", "uniform"]


def dense_segments(
    num_frames_in_file: int, num_frames: int, num_segments: int, stride: int
) -> list[list[int]]:
    """Slide a window of every `stride`-th frame from the start of the file to its end.

    Of the frames 0, stride, 2 * stride, ... segment `k` takes `num_frames` in a row, from number
    `int(k * step)` on, where `step` is the number of frames left over / (num_segments - 1). A
    single segment, for which VideoMAE has no rule, lies in the middle.

    Args:
        num_frames_in_file: Frames in the file, at least 1.
        num_frames: Frames of a segment.
        num_segments: Segments.
        stride: Step from one frame to the next.

    Returns:
        `num_segments` lists of `num_frames` non-decreasing indices. If the file is shorter than one
        window, all are the same and repeat its last frame of that step.

    Source: VideoMAE (Tong et al., NeurIPS 2022), its program for Kinetics-400 (`kinetics.py`, mode
        "test").
    """
    steps = list(range(0, num_frames_in_file, stride))
    steps += [steps[-1]] * (num_frames - len(steps))
    spare = len(steps) - num_frames
    if num_segments == 1:
        starts = [spare // 2]
    else:
        step = spare / (num_segments - 1)
        starts = [int(k * step) for k in range(num_segments)]
    return [steps[start : start + num_frames] for start in starts]


def uniform_segments(
    num_frames_in_file: int, num_frames: int, num_segments: int
) -> list[list[int]]:
    """Cut the file into `num_frames` equal parts; each segment takes one frame of every part.

    With `tick` the length of a part, segment `k` takes the frames
    `int(tick * k / num_segments + tick * i)`: of two segments the first takes the start of every
    part and the second its middle.

    Args:
        num_frames_in_file: Frames in the file, at least 1.
        num_frames: Frames of a segment.
        num_segments: Segments. VideoMAE's program works for two; other numbers are our
            generalisation.

    Returns:
        `num_segments` lists of `num_frames` non-decreasing indices. A file with fewer frames than
        wanted repeats them evenly.

    Source: VideoMAE (Tong et al., NeurIPS 2022), its program for Something-Something V2
        (`ssv2.py`, mode "test").
    """
    tick = num_frames_in_file / num_frames
    return [
        [int(tick * k / num_segments + tick * i) for i in range(num_frames)]
        for k in range(num_segments)
    ]


@dataclass(frozen=True)
class SegmentSampling:
    """Which frames of a video the segments of a multi-view test take; for `read_clip`.

    Attributes:
        num_frames: Frames T of a segment, in [1, 16384], also of all segments together.
        num_segments: Segments, at least 1.
        policy: `"dense"` (`dense_segments`) or `"uniform"` (`uniform_segments`).
        stride: Step of `"dense"`, in frames, at least 1; unused by `"uniform"`.

    Raises:
        ValueError: If a number is out of range or the policy is unknown.
        TypeError: If a number is not an int.
    """

    num_frames: int
    num_segments: int
    policy: SegmentPolicy = "dense"
    stride: int = 4

    def __post_init__(self) -> None:
        validate_num_frames(self.num_frames)
        validate_count("num_segments", self.num_segments)
        validate_num_frames(self.num_frames * self.num_segments)
        validate_count("stride", self.stride)
        if self.policy not in get_args(SegmentPolicy):
            raise ValueError(
                f"policy must be one of {', '.join(get_args(SegmentPolicy))}, got "
                f"{self.policy!r}. Use 'dense' for Kinetics."
            )

    def indices(self, num_frames_in_file: int) -> list[int]:
        """Indices of the frames of all segments, one segment after the other.

        Args:
            num_frames_in_file: Frames in the file, at least 1.

        Raises:
            ValueError: If there are no frames.
        """
        validate_count("num_frames_in_file", num_frames_in_file)
        if self.policy == "dense":
            segments = dense_segments(
                num_frames_in_file, self.num_frames, self.num_segments, self.stride
            )
        else:
            segments = uniform_segments(num_frames_in_file, self.num_frames, self.num_segments)
        return [index for segment in segments for index in segment]

    def num_repeats(self, num_frames_in_file: int) -> int:
        """How often the last frame is repeated in place of missing ones."""
        if self.policy == "uniform":  # repeats all frames, not the last
            return 0
        return max(0, self.num_frames - -(-num_frames_in_file // self.stride))


#: What `read_clip` takes.
AnySampling = Sampling | SegmentSampling
