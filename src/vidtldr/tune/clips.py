"""The videos a model is tuned on, decoded once and kept in memory.

Letters: `T` frames, `h` and `w` height and width of the model's input.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from vidtldr.steps import OnStep, ignore_steps
from vidtldr.tasks.clip_reader import ClipReader, read_ahead
from vidtldr.tasks.fingerprint import file_sha256
from vidtldr.tasks.unchanged import FileWatch
from vidtldr.video.decode import VideoError

__all__ = ["FailedVideo", "TunedClip", "read_clips"]


@dataclass(frozen=True, eq=False)
class TunedClip:
    """A clip, resized and cropped but not normalised: uint8 needs a quarter of the memory.

    Attributes:
        path: The file, as given.
        sha256: Hash of its content.
        frames: uint8, shape (T, 3, h, w).
        notes: Everything unusual about the file, one sentence each.
    """

    path: str
    sha256: str
    frames: Tensor
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class FailedVideo:
    """A video that cannot be used, and why."""

    path: str
    error: str


def read_clips(
    reader: ClipReader,
    paths: Sequence[str],
    on_step: OnStep = ignore_steps,
) -> tuple[list[TunedClip], list[FailedVideo]]:
    """Decode every video; a bad one does not stop the rest.

    Args:
        reader: Reads videos as the model expects them.
        paths: Local files.
        on_step: Called after every video with the name of the step, videos done and total.

    Returns:
        The clips, in the order of the files, and the videos that failed.
    """

    def read(path: str) -> TunedClip | FailedVideo:
        try:
            watch = FileWatch(path)
            clip = reader.read_resized(path)
            sha256 = file_sha256(path)
            watch.validate_unchanged()
        except (OSError, VideoError) as error:
            return FailedVideo(path, str(error))
        return TunedClip(path, sha256, clip.frames, clip.notes)

    clips: list[TunedClip] = []
    failed: list[FailedVideo] = []
    for done, found in enumerate(read_ahead(read, paths, num_threads=2), start=1):
        if isinstance(found, TunedClip):
            clips.append(found)
        else:
            failed.append(found)
        on_step("reading videos", done, len(paths))
    return clips, failed
