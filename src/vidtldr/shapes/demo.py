"""The bundled model on a handful of clips, unmerged and merged: its answers and its cost.

Letters: `T` frames, `S` side of a frame.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from vidtldr.bundled import BUNDLED, bundled_merge
from vidtldr.config import MergeConfig
from vidtldr.measure.flops import count_flops
from vidtldr.measure.gain import Gain, gain_of_sides
from vidtldr.measure.timing import Timing, time_in_turn
from vidtldr.models.umt.checkpoint import load_umt
from vidtldr.models.umt.retrieval import UMTRetrieval
from vidtldr.models.umt.vision import VideoTokens
from vidtldr.patch.patching import trace
from vidtldr.patch.twin import merged_twin
from vidtldr.shapes.exam import AnswerSheet, EncodedClips, ExamResult, fill_sheet, mark
from vidtldr.shapes.export import clip_name, export_clips
from vidtldr.shapes.world import ShapesWorld
from vidtldr.steps import OnStep, steps_of
from vidtldr.tasks.clip_reader import umt_reader

__all__ = ["Demo", "DemoSide", "run_demo"]

NUM_REPEATS = 15


@dataclass(frozen=True)
class DemoSide:
    """The model unmerged, or merged.

    Attributes:
        sheet: Its answers about the clips.
        marks: How many of them are right.
        num_tokens: Tokens after each layer.
        flops: Floating-point operations of the vision encoder for a clip; 1 MAC = 2 FLOPs.
        timing: Its wall-clock times for a clip.
    """

    sheet: AnswerSheet
    marks: ExamResult
    num_tokens: list[int]
    flops: int
    timing: Timing


@dataclass(frozen=True)
class Demo:
    """Both sides, on the same files.

    Attributes:
        videos: Names of the files.
        clips: The truth about them, with the features of the unmerged model.
        merge: How the merged side merges.
        unmerged: The model as is.
        merged: The same weights with the bundled preset.
    """

    videos: list[str]
    clips: EncodedClips
    merge: MergeConfig
    unmerged: DemoSide
    merged: DemoSide

    @property
    def gain(self) -> Gain:
        """How merging changes this small model's time per clip."""
        return gain_of_sides(self.unmerged, self.merged)


def run_demo(directory: Path, num_clips: int, on_step: OnStep) -> Demo:
    """Write clips of the test split as files, then search, question and label them on both sides.

    Args:
        directory: Where to write the files; must be new or empty.
        num_clips: Number of clips.
        on_step: Called with the name of the part, its steps done and their total, for progress.

    Raises:
        ValueError: If `directory` holds files.
        OSError: If the files cannot be written, or this copy of the package has no weights.
    """
    unmerged, answering = load_umt(BUNDLED), load_umt(BUNDLED, task="answering")
    merge = bundled_merge()
    models = {"unmerged": unmerged, "merged": merged_twin(unmerged, merge)}
    world = ShapesWorld(split="test", num_frames=unmerged.config.num_frames)
    step = steps_of(on_step, "writing clips", num_clips)
    indices = export_clips(directory, world, num_clips, on_step=step)
    videos = [clip_name(world, index) for index in indices]
    read = umt_reader(unmerged.config)
    pixels = [read(str(directory / video)).values[None] for video in videos]
    truth = world.clips(indices)
    rows, speeds = truth.factors.rows(), [(one, two) for one, two in truth.speeds.tolist()]
    encoded = {
        name: EncodedClips(*_encode(model, pixels), rows, speeds) for name, model in models.items()
    }
    costs = _costs(models, pixels[0], on_step)
    sides = {}
    for done, (name, clips) in enumerate(encoded.items()):
        on_step("searching and asking", done, len(encoded))
        sheet = fill_sheet(unmerged, answering, clips)
        sides[name] = DemoSide(sheet, mark(sheet, clips), *costs[name])
    return Demo(videos, encoded["unmerged"], merge, **sides)


@torch.inference_mode()
def _encode(model: UMTRetrieval, pixels: list[Tensor]) -> tuple[list[VideoTokens], Tensor]:
    """Encode clips: tokens (N, C) of each with their mass, and the embeddings of all."""
    videos = [model.encode_video(clip) for clip in pixels]
    embeddings = torch.cat([model.embed_video(video) for video in videos])
    return [tokens for video in videos for tokens in video.by_clip()], embeddings


def _costs(
    models: Mapping[str, UMTRetrieval], clip: Tensor, on_step: OnStep
) -> dict[str, tuple[list[int], int, Timing]]:
    """Tokens, operations and times of each model for a clip (1, T, 3, S, S)."""
    runs = {name: _forward(model, clip) for name, model in models.items()}
    step = steps_of(on_step, "timing", len(runs) * (1 + NUM_REPEATS))
    timings = time_in_turn(runs, num_repeats=NUM_REPEATS, device=clip.device, on_step=step)
    costs = {}
    for name, run in runs.items():
        with trace(models[name]) as recorded:
            run()
        costs[name] = (recorded.num_tokens, count_flops(run), timings[name])
    return costs


def _forward(model: UMTRetrieval, clip: Tensor) -> Callable[[], object]:
    def run() -> object:
        with torch.inference_mode():
            return model.encode_video(clip)

    return run
