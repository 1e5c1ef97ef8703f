"""Choose which frames of a video to use.

Indices count frames in display order. Sampling is by index, not by time: with a variable frame
rate, a part with many frames gets a larger share of the clip.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, get_args

import numpy as np

__all__ = [
    "Policy",
    "Sampling",
    "dense_indices",
    "middle_indices",
    "validate_count",
    "validate_num_frames",
]

Policy = Literal["middle", "dense"]

# Far beyond any model; a number in a checkpoint or an index must not decide how much is allocated.
_MAX_NUM_FRAMES = 2**14


def middle_indices(num_frames_in_file: int, num_frames: int) -> list[int]:
    """Cut the file into `num_frames` equal parts and take the middle frame of each.

    Args:
        num_frames_in_file: Frames in the file, at least 1.
        num_frames: Frames wanted, in [1, 16384].

    Returns:
        `num_frames` non-decreasing indices in [0, num_frames_in_file). A file with fewer frames
        than wanted gives every frame, then repeats its last one.

    Raises:
        ValueError: If a count is out of range.
        TypeError: If a count is not an int.

    Source: the evaluation protocol of Choi et al., CVPR 2024 ("middle" sampling of UMT).
    """
    validate_count("num_frames_in_file", num_frames_in_file)
    validate_num_frames(num_frames)
    if num_frames_in_file < num_frames:
        return _clamped(range(num_frames), num_frames_in_file)
    edges = np.linspace(0, num_frames_in_file, num_frames + 1).astype(int).tolist()
    return [(low + high - 1) // 2 for low, high in pairwise(edges)]


def dense_indices(num_frames_in_file: int, num_frames: int, stride: int) -> list[int]:
    """Take every `stride`-th frame of a window in the centre of the file.

    The window is (num_frames - 1) * stride + 1 frames long; if the number of frames left over is
    odd, it lies one frame nearer the start.

    Args:
        num_frames_in_file: Frames in the file, at least 1.
        num_frames: Frames wanted, in [1, 16384].
        stride: Step from one frame to the next, in frames, at least 1.

    Returns:
        `num_frames` non-decreasing indices in [0, num_frames_in_file). If the file is shorter than
        the window, the window starts at 0 and the last frame repeats.

    Raises:
        ValueError: If a number is out of range.
        TypeError: If a number is not an int.
    """
    validate_count("num_frames_in_file", num_frames_in_file)
    validate_num_frames(num_frames)
    validate_count("stride", stride)
    start = max(0, (num_frames_in_file - _window(num_frames, stride)) // 2)
    steps = range(start, start + num_frames * stride, stride)
    return _clamped(steps, num_frames_in_file)


@dataclass(frozen=True)
class Sampling:
    """How many frames a model takes, and which.

    Attributes:
        num_frames: Frames of a clip, in [1, 16384].
        policy: `"middle"` spreads them over the whole video (`middle_indices`), `"dense"` takes a
            window in its centre (`dense_indices`).
        stride: Step of `"dense"`, in frames, at least 1; unused by `"middle"`.

    Raises:
        ValueError: If a number is out of range or the policy is unknown.
        TypeError: If a number is not an int.
    """

    num_frames: int
    policy: Policy = "middle"
    stride: int = 4

    def __post_init__(self) -> None:
        validate_num_frames(self.num_frames)
        validate_count("stride", self.stride)
        if self.policy not in get_args(Policy):
            raise ValueError(
                f"policy must be one of {', '.join(get_args(Policy))}, got {self.policy!r}. "
                "Use 'middle' for the paper's protocol."
            )

    def indices(self, num_frames_in_file: int) -> list[int]:
        """Indices of the `num_frames` frames to use, in display order.

        Args:
            num_frames_in_file: Frames in the file, at least 1.

        Raises:
            ValueError: If there are no frames.
        """
        if self.policy == "middle":
            return middle_indices(num_frames_in_file, self.num_frames)
        return dense_indices(num_frames_in_file, self.num_frames, self.stride)

    def num_repeats(self, num_frames_in_file: int) -> int:
        """How often the last frame is repeated in place of missing ones."""
        stride = 1 if self.policy == "middle" else self.stride
        missing = _window(self.num_frames, stride) - num_frames_in_file
        return max(0, -(-missing // stride))


def _window(num_frames: int, stride: int) -> int:
    return (num_frames - 1) * stride + 1


def _clamped(indices: Sequence[int], num_frames_in_file: int) -> list[int]:
    return [min(index, num_frames_in_file - 1) for index in indices]


def validate_num_frames(value: int) -> None:
    """Check a number of frames that a model takes.

    Raises:
        ValueError: If it is not in [1, 16384].
        TypeError: If it is not an int.
    """
    validate_count("num_frames", value)
    if value > _MAX_NUM_FRAMES:
        raise ValueError(
            f"num_frames must be at most {_MAX_NUM_FRAMES}, got {value}. Pass the number that the "
            "model was trained with."
        )


def validate_count(name: str, value: int) -> None:
    """Check a count of the argument `name`.

    Raises:
        ValueError: If it is not at least 1.
        TypeError: If it is not an int.
    """
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be an int, got {value!r}. Pass a whole number of frames.")
    if value < 1:
        raise ValueError(f"{name} must be at least 1, got {value!r}. Pass a positive count.")
