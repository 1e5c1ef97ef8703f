"""How the commands make a UMT model ready for videos."""

from contextlib import nullcontext
from pathlib import Path

from vidtldr.cli.progress import status
from vidtldr.cli.say_compiled import say_compiled
from vidtldr.hosts.config import MergeConfig
from vidtldr.models.umt.answering import UMTAnswering
from vidtldr.models.umt.retrieval import UMTRetrieval
from vidtldr.tasks.clip_reader import umt_reader
from vidtldr.tasks.video_features import VideoEncoding

__all__ = ["video_encoding"]


def video_encoding(
    model: UMTRetrieval | UMTAnswering,
    merge: MergeConfig | None,
    time_limit_seconds: float,
    *,
    cache: Path | None = None,
    compile_for: int | None = None,
) -> VideoEncoding:
    """Read and encode videos; compile the model first for so many clips at once, if asked.

    Raises:
        ValueError, NotImplementedError, ImportError: As `VideoEncoding`.
    """
    reader = umt_reader(model.config, time_limit_seconds=time_limit_seconds)
    with status("compiling the model") if compile_for else nullcontext():
        encoding = VideoEncoding(model, reader, merge, cache_dir=cache, compile_for=compile_for)
    say_compiled(encoding.compiled)
    return encoding
