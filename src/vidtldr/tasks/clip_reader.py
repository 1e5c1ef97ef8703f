"""From a video file to what a model takes.

Letters: `T` frames of a clip, `S` side of a frame in pixels.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

from torch import Tensor

from vidtldr.models.umt.config import UMTConfig
from vidtldr.video.decode import Clip, read_clip
from vidtldr.video.sampling import Sampling
from vidtldr.video.transform import VideoTransform

__all__ = ["ClipReader", "Pixels", "read_ahead", "umt_reader"]

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

_In = TypeVar("_In")
_Out = TypeVar("_Out")


@dataclass(frozen=True)
class Pixels:
    """One clip, ready for the model.

    Attributes:
        values: Normalised pixels, shape (T, 3, S, S), float32.
        seconds: Time that the frames sampled from cover; None if unknown.
        notes: Everything unusual about the file, a sentence each.
    """

    values: Tensor
    seconds: float | None
    notes: tuple[str, ...]


@dataclass(frozen=True)
class ClipReader:
    """How a model wants its videos read.

    Attributes:
        sampling: Which frames.
        transform: Frames to pixels.
        max_seconds: Use only the first so many seconds; None uses all.
        time_limit_seconds: Give up reading a video after so long.
    """

    sampling: Sampling
    transform: VideoTransform
    max_seconds: float | None = None
    time_limit_seconds: float = 120.0

    def __call__(self, path: str) -> Pixels:
        """Read one clip.

        Raises:
            VideoError: If it cannot be read.
        """
        clip = self.read(path)
        return Pixels(self.transform(clip.frames), clip.duration_seconds, clip.notes)

    def read(self, path: str) -> Clip:
        """Read one clip as it was decoded.

        Raises:
            VideoError: If it cannot be read.
        """
        return read_clip(
            path,
            self.sampling,
            max_seconds=self.max_seconds,
            time_limit_seconds=self.time_limit_seconds,
        )


def umt_reader(
    config: UMTConfig, *, max_seconds: float | None = None, time_limit_seconds: float = 120.0
) -> ClipReader:
    """The reader of the paper's protocol for a UMT model.

    As many frames as the model was trained with, one from the middle of each equal part of the
    video, squashed to a square by bicubic interpolation without antialiasing, normalised by
    ImageNet's mean and standard deviation.

    Args:
        config: Sizes of the model.
        max_seconds: As in `ClipReader`.
        time_limit_seconds: As in `ClipReader`.
    """
    transform = VideoTransform(
        resize=(config.image_size, config.image_size),
        interpolation="bicubic",
        antialias=False,
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
    )
    return ClipReader(Sampling(config.num_frames), transform, max_seconds, time_limit_seconds)


def read_ahead(
    function: Callable[[_In], _Out], inputs: Iterable[_In], num_threads: int
) -> Iterator[_Out]:
    """Call a function on every input in threads, a little ahead of whoever takes the results.

    Args:
        function: Is called once an input; what it raises is raised when its turn comes.
        inputs: Taken as they are needed.
        num_threads: Threads, at least 1; so many results wait at most.

    Yields:
        The results in the order of the inputs.
    """
    waiting: deque[Future[_Out]] = deque()
    rest = iter(inputs)
    pool = ThreadPoolExecutor(num_threads, thread_name_prefix="vidtldr-read")
    try:
        waiting.extend(pool.submit(function, item) for item in islice(rest, num_threads))
        while waiting:
            result = waiting.popleft().result()
            waiting.extend(pool.submit(function, item) for item in islice(rest, 1))
            yield result
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
