"""The report at the end of `vidtldr demo`."""

import os
import tempfile
from pathlib import Path

from vidtldr.cli.show_options import AskedOptions
from vidtldr.cli.show_run import prepare_show, show_clip
from vidtldr.cli.show_subject import load_subject
from vidtldr.cli.show_write import write_page
from vidtldr.cli.umt_options import PREFIX, UMTOptions
from vidtldr.shapes.bundled_model import BUNDLED
from vidtldr.shapes.demo import Demo
from vidtldr.shapes.language import caption
from vidtldr.video.decode import read_clip
from vidtldr.video.sampling import Sampling

__all__ = ["write_demo_report"]

NUM_TEXTS, NUM_REPEATS = 3, 5


def write_demo_report(demo: Demo, clips: Path, kept: Path | None) -> Path:
    """Show what was merged in the first clip, with the captions of some clips as texts.

    Args:
        demo: What was shown.
        clips: Where its clips lie now.
        kept: Where to write to; None for a temporary file, which stays to be looked at.

    Returns:
        The page.

    Raises:
        ImportError: If the extra is not installed.
        OSError: If it cannot be written.
    """
    texts = [caption(row) for row in demo.clips.rows[:NUM_TEXTS]]
    model = UMTOptions(model=f"{PREFIX}{BUNDLED}")  # named, so that it is not announced again
    subject = load_subject(model, AskedOptions(text=texts), None)
    job = prepare_show(subject, demo.merge, None, NUM_REPEATS)
    clip = read_clip(clips / demo.videos[0], Sampling(subject.num_frames))
    report = show_clip(job, clip, UMTOptions().name)
    if kept is not None:
        return write_page(kept / "report.html", report)
    handle, name = tempfile.mkstemp(prefix="vidtldr-demo-", suffix=".html")
    os.close(handle)
    return write_page(Path(name), report)
