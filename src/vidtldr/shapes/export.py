"""Write clips of the world as video files, annotated in the formats of published datasets.

Letters: `T` frames, `S` side of a frame.
"""

import json
import os
import shutil
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
from torch import Tensor

from vidtldr.shapes.exam import distinct_clips
from vidtldr.shapes.factors import FactorRow
from vidtldr.shapes.language import ANSWERS, LABELS, caption, label_of, questions
from vidtldr.shapes.world import ShapesWorld

__all__ = ["clip_name", "export_clips", "write_video"]

NUM_CLIPS_AT_ONCE = 16
FRAMES_PER_SECOND = 8
# The world already simulates codec loss, so lose little more. Constant, as the encoder's rate
# control was seen to produce different files from the same frames in the next run.
CODEC_OPTIONS = {"qp": "14"}


def export_clips(
    directory: str | os.PathLike[str],
    world: ShapesWorld,
    num_clips: int,
    *,
    start: int = 0,
    on_step: Callable[[], object] = lambda: None,
) -> list[int]:
    """Write clips whose captions all differ as H.264 files, with the truth about them.

    Beside the videos are `retrieval.json` (the caption that names every factor), `questions.json`
    and `answers.json`, `labels.txt` (all labels, one per line) and `clips.json` (for each video its
    index in the world and its true label). A clip's masks are those of `world.clips([index])`.
    An interruption leaves the directory as it was.

    Args:
        directory: Where to write; must be new or empty.
        world: World of the clips.
        num_clips: Number of clips, at least 1.
        start: First index to consider, at least 0.
        on_step: Called after every clip, to show progress.

    Returns:
        The index of each clip in the world, in the order of the files.

    Raises:
        ValueError: If `directory` holds files, or a number is out of range.
        OSError: If it cannot be written.
    """
    out = Path(directory)
    _validate(out, num_clips, start)
    is_new = not out.exists()
    partial = out / f".{uuid.uuid4().hex}.partial"
    partial.mkdir(parents=True)
    try:
        indices = distinct_clips(world, num_clips, start)
        _write(partial, world, indices, on_step)
        for file in sorted(partial.iterdir()):
            file.replace(out / file.name)
    finally:
        shutil.rmtree(partial)
        if is_new and not any(out.iterdir()):
            out.rmdir()
    return indices


def clip_name(world: ShapesWorld, index: int) -> str:
    """The name of a clip's file."""
    return f"{world.split}-{world.seed}-{index:06d}.mp4"


def write_video(path: Path, frames: Tensor) -> None:
    """Write frames (T, 3, S, S), uint8, as H.264 at 8 frames per second; S must be even."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FRAMES_PER_SECOND, options=CODEC_OPTIONS)
        stream.height, stream.width = frames.shape[2:]
        stream.pix_fmt = "yuv420p"
        for frame in frames.permute(0, 2, 3, 1).contiguous().numpy():
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())


def _validate(out: Path, num_clips: int, start: int) -> None:
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(
            f"directory must be new or empty, got {str(out)!r}. Choose another directory."
        )
    for name, value, least in (("num_clips", num_clips, 1), ("start", start, 0)):
        if value < least:
            raise ValueError(f"{name} must be at least {least}, got {value!r}. Raise it.")


def _write(
    out: Path, world: ShapesWorld, indices: list[int], on_step: Callable[[], object]
) -> None:
    captions: list[dict[str, Any]] = []
    asked: list[dict[str, Any]] = []
    truths: list[dict[str, Any]] = []
    for first in range(0, len(indices), NUM_CLIPS_AT_ONCE):
        batch = indices[first : first + NUM_CLIPS_AT_ONCE]
        clips = world.clips(batch)
        about = zip(batch, clips.factors.rows(), clips.speeds.tolist(), clips.frames, strict=True)
        for index, row, speeds, frames in about:
            name = clip_name(world, index)
            write_video(out / name, frames)
            captions.append({"video": name, "caption": caption(row)})
            asked += _questions(name, row, (speeds[0], speeds[1]), len(asked))
            truths.append({"video": name, "index": index, "label": LABELS[label_of(row)]})
            on_step()
    _write_json(out / "retrieval.json", captions)
    _write_json(out / "questions.json", asked)
    _write_json(out / "answers.json", list(ANSWERS))
    _write_json(out / "clips.json", truths)
    (out / "labels.txt").write_text("\n".join(LABELS) + "\n", encoding="utf-8")


def _questions(
    name: str, row: FactorRow, speeds: tuple[float, float], first_id: int
) -> list[dict[str, Any]]:
    return [
        {"video": name, "question": q.question, "answer": q.answer, "question_id": first_id + i}
        for i, q in enumerate(questions(row, speeds))
    ]


def _write_json(path: Path, entries: list[Any]) -> None:
    path.write_text(json.dumps(entries, indent=1) + "\n", encoding="utf-8")
