"""Read a video file into model input.

Letters: `T` frames of a clip, `S` side of a frame in pixels.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cache
from itertools import islice
from typing import Any, TypeVar

from torch import Tensor

from vidtldr.bundled import BUNDLED, unknown_world_note
from vidtldr.files import read_json
from vidtldr.models.umt.config import UMTConfig
from vidtldr.video.decode import Clip, read_clip
from vidtldr.video.local_file import video_errors
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
        seconds: Duration that frames were sampled from; None if unknown.
        notes: Everything unusual about the file, one sentence each.
    """

    values: Tensor
    seconds: float | None
    notes: tuple[str, ...]


def no_note(_height: int, _width: int) -> tuple[str, ...]:
    """Say nothing about a video."""
    return ()


@dataclass(frozen=True)
class ClipReader:
    """How a model wants its videos read.

    Attributes:
        sampling: Which frames to use.
        transform: Turns frames into pixels.
        max_seconds: Use only the first `max_seconds` of a video; None uses all.
        time_limit_seconds: Time limit for reading a video.
        note: Called with height and width of a video, returns notes on what the model makes of it.
    """

    sampling: Sampling
    transform: VideoTransform
    max_seconds: float | None = None
    time_limit_seconds: float = 120.0
    note: Callable[[int, int], tuple[str, ...]] = no_note

    def __call__(self, path: str) -> Pixels:
        """Read one clip.

        Raises:
            VideoError: If it cannot be read.
        """
        clip = self.read_resized(path)
        with video_errors(path):
            return Pixels(self.transform.normalised(clip.frames), clip.duration_seconds, clip.notes)

    def read(self, path: str) -> Clip:
        """Read one clip as decoded, without the transform.

        Raises:
            VideoError: If it cannot be read.
        """
        return self._read(path, None)

    def read_resized(self, path: str) -> Clip:
        """Read one clip, resized and cropped as it is decoded, but not normalised.

        Raises:
            VideoError: If it cannot be read.
        """
        return self._read(path, self.transform)

    def _read(self, path: str, transform: VideoTransform | None) -> Clip:
        clip = read_clip(
            path,
            self.sampling,
            max_seconds=self.max_seconds,
            time_limit_seconds=self.time_limit_seconds,
            transform=transform,
        )
        return replace(clip, notes=(*clip.notes, *self.note(*clip.size)))


def umt_reader(
    config: UMTConfig, *, max_seconds: float | None = None, time_limit_seconds: float = 120.0
) -> ClipReader:
    """Make the reader of the paper's protocol for a UMT model.

    It takes as many frames as the model was trained with, the middle one of each equal part of the
    video, squashes them to a square by bicubic interpolation without antialiasing, and normalises
    them by ImageNet's mean and standard deviation.

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
    note = unknown_world_note if knows_shapes_alone(config) else no_note
    return ClipReader(Sampling(config.num_frames), transform, max_seconds, time_limit_seconds, note)


def knows_shapes_alone(config: UMTConfig) -> bool:
    """Whether this is the bundled model, whose vocabulary is like no other's."""
    return config.text == _bundled_text_config()


@cache
def _bundled_text_config() -> dict[str, Any]:
    text: dict[str, Any] = read_json(BUNDLED / "config.json")["config"]["text"]
    return text


def read_ahead(
    function: Callable[[_In], _Out], inputs: Iterable[_In], num_threads: int
) -> Iterator[_Out]:
    """Map a function over inputs in threads, running slightly ahead of the consumer.

    Args:
        function: Called once per input; its exception is raised when its result is due.
        inputs: Consumed lazily.
        num_threads: Number of threads, at least 1, and maximum number of pending results.

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
