"""From a video file to model input: sampling, decoding, pixel transforms.

`decode.read_clip` reads the frames chosen by a `sampling.Sampling`; a `transform.VideoTransform`
turns them into model input. PyAV is imported on the first decode.
"""

from typing import TYPE_CHECKING

from vidtldr.lazy import lazy_names

if TYPE_CHECKING:
    from vidtldr.video.decode import Clip, VideoError, read_clip
    from vidtldr.video.sampling import Sampling
    from vidtldr.video.transform import VideoTransform

__all__ = ["Clip", "Sampling", "VideoError", "VideoTransform", "read_clip"]

_HOMES = {
    "Clip": "decode",
    "Sampling": "sampling",
    "VideoError": "decode",
    "VideoTransform": "transform",
    "read_clip": "decode",
}
__getattr__, __dir__ = lazy_names(
    __name__, {name: f"{__name__}.{module}" for name, module in _HOMES.items()}
)
