"""The videos that a model is tuned on, decoded once and kept.

Letters: `T` frames, `h` and `w` a frame as the model takes it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

from vidtldr.tasks.clip_reader import ClipReader, read_ahead
from vidtldr.tasks.fingerprint import file_sha256

__all__ = ["FailedVideo", "TunedClip", "read_clips"]


@dataclass(frozen=True, eq=False)
class TunedClip:
    """A clip, resized and cropped but not normalised, a quarter of the memory that way.

    Attributes:
        path: The file, as it was given.
        sha256: Hash of its content.
        frames: uint8, shape (T, 3, h, w).
    """

    path: str
    sha256: str
    frames: Tensor


@dataclass(frozen=True)
class FailedVideo:
    """A video that cannot be used, and why."""

    path: str
    error: str


def read_clips(
    reader: ClipReader,
    paths: Sequence[str],
    on_step: Callable[[str, int, int], object] = lambda *_: None,
) -> tuple[list[TunedClip], list[FailedVideo]]:
    """Decode every video; a bad one never stops the others.

    Args:
        reader: How the model wants its videos read.
        paths: Local files.
        on_step: Called after every video with what is done, how many and of how many.

    Returns:
        Clips in the order of the files, and the videos that failed.
    """

    def read(path: str) -> TunedClip | FailedVideo:
        try:
            frames = reader.transform.resized(reader.read(path).frames)
            return TunedClip(path, file_sha256(path), frames)
        except (OSError, ValueError, ArithmeticError, RuntimeError, MemoryError) as error:
            return FailedVideo(path, str(error))

    clips: list[TunedClip] = []
    failed: list[FailedVideo] = []
    for done, found in enumerate(read_ahead(read, paths, num_threads=2), start=1):
        if isinstance(found, TunedClip):
            clips.append(found)
        else:
            failed.append(found)
        on_step("reading videos", done, len(paths))
    return clips, failed
