"""Implementation of `vidtldr show`."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from vidtldr.budget.counts import forward_costs, resolve_budget, resolved_r
from vidtldr.cli.load_model import notes_on_stderr
from vidtldr.cli.show.command import WantedFiles
from vidtldr.cli.show.output import write_images, write_page, write_video
from vidtldr.cli.show.subject import Subject
from vidtldr.cli.terminal import one_line, printable
from vidtldr.config import MergeConfig
from vidtldr.hosts.registry import find_host
from vidtldr.measure.environment import environment, environment_facts
from vidtldr.measure.flops import count_flops
from vidtldr.measure.timing import time_in_turn
from vidtldr.patch.twin import merged_twin
from vidtldr.steps import OnStep, steps_of
from vidtldr.tasks.classify import to_pixels
from vidtldr.video.decode import Clip, read_clip
from vidtldr.video.sampling import Sampling
from vidtldr.visualize.feature_colours import cosine_kept, features_to_rgb
from vidtldr.visualize.observe import Observation, observe
from vidtldr.visualize.report_facts import Answer, Report, Side
from vidtldr.visualize.tiles import make_tile

__all__ = ["Show", "Shown", "prepare_show", "read_shown", "show_clip", "show_video"]

LONGEST_TILE = 288
UNMERGED, MERGED, RIVAL = "unmerged", "merged", "rival"


@dataclass(frozen=True)
class Show:
    """A model in all variants to show.

    Attributes:
        subject: The model and its answers.
        models: The model and its merged copies.
        configs: What each copy merges, with budgets resolved to counts.
        shown_layer: The merging layer to draw, as an index into the layers that merge.
        num_repeats: Timed runs of each.
    """

    subject: Subject
    models: Mapping[str, nn.Module]
    configs: Mapping[str, MergeConfig]
    shown_layer: int
    num_repeats: int

    @property
    def num_steps(self) -> int:
        """Steps per clip: reading, then observing, counting and timing each side."""
        return 1 + len(self.models) * (2 + 1 + self.num_repeats)


@dataclass(frozen=True, eq=False)
class Shown:
    """The result of `show_video`.

    Attributes:
        report: Everything that a page shows.
        paths: Files that were written.
        notes: Notes on those files.
    """

    report: Report
    paths: tuple[Path, ...]
    notes: tuple[str, ...] = ()


def prepare_show(subject: Subject, merge: MergeConfig, layer: int | None, num_repeats: int) -> Show:
    """Patch copies of the model and check the arguments against it before a video is read.

    Args:
        subject: The model.
        merge: What to merge.
        layer: The merging layer to draw, 0-based in the model; None for the last.
        num_repeats: Timed runs of each model.

    Raises:
        ValueError, TypeError, NotImplementedError: If an argument, a file or an extra is missing or
            invalid.
    """
    with notes_on_stderr():
        resolved = resolve_budget(merge, find_host(subject.model))
    layers = [place for place, entry in enumerate(resolved.schedule) if entry]
    if not layers:
        raise ValueError(
            "r must remove a token in some layer to be shown, got none. Add --flop-ratio 0.6."
        )
    if layer is not None and layer not in layers:
        raise ValueError(
            f"--layer must be one of {', '.join(map(str, layers))} (the layers that merge), got "
            f"{layer}. Choose one of them."
        )
    configs = {MERGED: resolved, RIVAL: _rival_of(resolved)}
    twins = {name: merged_twin(subject.model, config) for name, config in configs.items()}
    models = {UNMERGED: subject.model, **twins}
    shown = layers.index(layer) if layer is not None else len(layers) - 1
    return Show(subject, models, configs, shown, num_repeats)


def show_video(
    job: Show,
    video: str,
    model_name: str,
    wanted: WantedFiles,
    time_limit_seconds: float,
    on_step: OnStep,
) -> Shown | str:
    """Read a video, run the models on it and write the requested files.

    Args:
        job: The models.
        video: The video.
        model_name: The model as typed.
        wanted: The files to write.
        time_limit_seconds: Time limit for reading the video.
        on_step: Called after every step; the frames of the written video count apart.

    Returns:
        The result, or why the video failed.

    Raises:
        OSError: If a file cannot be written.
    """
    step = steps_of(on_step, "showing", job.num_steps + wanted.num_pages)
    try:
        clip = read_shown(job.subject, video, time_limit_seconds)
        step()
        report = show_clip(job, clip, model_name, step)
    except (ValueError, ArithmeticError, RuntimeError, MemoryError) as error:
        return one_line(str(error))
    paths: list[Path] = []
    notes = [_NO_SALIENCY] if report.merged.layers[0].saliency is None else []
    if wanted.report is not None:
        paths.append(write_page(wanted.report, report))
        step()
    if wanted.images is not None:
        paths += write_images(wanted.images, report)
        step()
    if wanted.video is not None:
        seen_region = job.subject.transform.seen_region
        on_frame = steps_of(on_step, "writing the video", clip.num_frames_in_file)
        note = write_video(wanted.video, clip, report, seen_region, on_frame)
        paths.append(wanted.video)
        notes += [] if note is None else [note]
    return Shown(report, tuple(paths), tuple(notes))


def read_shown(subject: Subject, video: str, time_limit_seconds: float = 120.0) -> Clip:
    """Read a clip at the size that the model takes, with a tile of each frame.

    Raises:
        VideoError: If it cannot be read.
    """

    def tile(frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return make_tile(frame, subject.transform.seen_region(*frame.shape[:2]), LONGEST_TILE)

    return read_clip(
        video,
        Sampling(subject.num_frames),
        time_limit_seconds=time_limit_seconds,
        transform=subject.transform,
        view=tile,
    )


def show_clip(
    job: Show, clip: Clip, model_name: str, on_step: Callable[[], object] = lambda: None
) -> Report:
    """Run a clip of `read_shown` through every variant and build the report of a page.

    Raises:
        ValueError, ArithmeticError, RuntimeError: If the clip or the model cannot be shown.
    """
    subject = job.subject
    pixel_values = to_pixels(clip, subject.transform, subject.model)
    seen: dict[str, Observation] = {}
    for name, model in job.models.items():
        seen[name] = observe(model, pixel_values, subject.forward)
        on_step()
    runs = {name: _run_of(subject, model, pixel_values) for name, model in job.models.items()}
    flops = {}
    for name, run in runs.items():
        flops[name] = count_flops(run)
        on_step()
    timings = time_in_turn(
        runs, num_repeats=job.num_repeats, device=pixel_values.device, on_step=on_step
    )
    sides = {
        name: _side(job, name, seen[name], flops[name], timings[name].times_ms) for name in runs
    }
    busy = timings[UNMERGED].busy
    made = environment(pixel_values.device)
    features = [seen[name].features for name in (UNMERGED, MERGED)]
    colours = features_to_rgb(*features)
    return Report(
        video=printable(Path(clip.path).name),
        asked=subject.asked,
        facts=[*_facts(job, clip, model_name), *_run_facts(job, made)],
        notes=[*clip.notes, *([busy.warning] if busy.is_busy else [])],
        busy=busy,
        unmerged=sides[UNMERGED],
        merged=sides[MERGED],
        rival=sides[RIVAL],
        grid=seen[MERGED].grid,
        tiles=list(clip.views),
        times_seconds=clip.timestamps_seconds,
        features=(colours[0], colours[1]),
        cosine_kept=cosine_kept(*features),
        shown_layer=job.shown_layer,
        caveat=subject.caveat,
        are_answers_meant=subject.are_answers_meant,
        command=printable(made["command"]),
    )


def _rival_of(config: MergeConfig) -> MergeConfig:
    """Return ToMe with the same schedule or, for ToMe, vid-TLDR."""
    if config.score is None and config.metric == "keys":
        return config.choosing(score="sharpness", metric="x", spare_norms=None, linkage="cosine")
    return config.choosing(
        score=None, metric="keys", protect=0.0, spare_norms=None, linkage="cosine"
    )


TOME, VID_TLDR, BY_SIMILARITY = "ToMe", "vid-TLDR", "Merging by similarity"
#: Of score, metric, linkage and the weighting of a score.
_NAMES = {
    (None, "keys", "cosine", None): TOME,
    ("sharpness", "x", "cosine", "masked-saliency"): VID_TLDR,
    (None, "x", "ward", None): BY_SIMILARITY,
    (None, "x", "cosine", None): "Plain merging",
}
_ABOUT = {
    TOME: "Token Merging (Bolya et al., ICLR 2023), where pairs are found by the attention's keys "
    "and all tokens count alike.",
    BY_SIMILARITY: "The most similar tokens merge, whatever they show; Ward's linkage keeps large "
    "groups from growing.",
}
_NO_SALIENCY = "without a score there is no saliency to show; --score sharpness shows vid-TLDR's"


def _name_of(config: MergeConfig) -> str:
    weighting = None if config.score is None else config.weighting
    choices = (config.score, config.metric, config.linkage, weighting)
    named = None if config.protect or config.spare_norms else _NAMES.get(choices)
    others = ", protected" if config.protect else ""
    others += ", outliers spared" if config.spare_norms else ""
    return named or f"{config.score or 'no score'} on {config.metric}{others}"


def _run_of(subject: Subject, model: nn.Module, pixel_values: torch.Tensor) -> Callable[[], object]:
    def run() -> object:
        with torch.inference_mode():
            return subject.forward(model, pixel_values)

    return run


def _side(job: Show, name: str, seen: Observation, flops: int, times_ms: tuple[float, ...]) -> Side:
    config = job.configs.get(name)
    return Side(
        name="Unmerged" if config is None else _name_of(config),
        about="" if config is None else _ABOUT.get(_name_of(config), ""),
        answers=_answers(job.subject, seen),
        num_tokens=seen.num_tokens,
        flops=flops,
        flops_per_layer=_flops_per_layer(job, config, seen.grid.num_sequences),
        times_ms=times_ms,
        layers=seen.layers,
    )


@torch.inference_mode()
def _answers(subject: Subject, seen: Observation) -> list[Answer]:
    return subject.read(seen.output)


def _flops_per_layer(job: Show, config: MergeConfig | None, num_sequences: int) -> list[int] | None:
    host = find_host(job.subject.model)
    r = () if config is None else resolved_r(config, host)
    if host.num_tokens is None or r is None:
        return None
    try:
        costs = forward_costs(host, config or MergeConfig(r=())).flops_per_layer(r)
    except NotImplementedError:  # a model of unknown cost is shown without that chart
        return None
    return [cost * num_sequences for cost in costs]


def _facts(job: Show, clip: Clip, model_name: str) -> list[tuple[str, str]]:
    config = job.configs[MERGED]
    amounts = ", ".join(f"{entry:g}" for entry in config.schedule)
    height, width = clip.size
    seconds = "" if clip.duration_seconds is None else f", {clip.duration_seconds:.1f} s"
    return [
        ("Model", printable(model_name)),
        ("Schedule", f"{'r' if config.ratio is None else 'ratio'} = {amounts}"),
        ("Score", _choices_of(config)),
        (
            "Clip",
            f"{len(set(clip.indices))} of {clip.num_frames_in_file} frames, {width}x{height}"
            f"{seconds}",
        ),
    ]


def _choices_of(config: MergeConfig) -> str:
    """Name what a score, a metric and a linkage say, and what keeps tokens from merging."""
    words = f"{config.score or 'none'}, metric {config.metric}, linkage {config.linkage}"
    words += f", protect {config.protect:g}" if config.protect else ""
    return words + (f", spare norms {config.spare_norms:g}" if config.spare_norms else "")


def _run_facts(job: Show, made: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return where, when and with what it was made, as benchmark pages list it."""
    dtype = next(job.subject.model.parameters()).dtype
    facts = [(name.capitalize(), value) for name, value in environment_facts(made)]
    return [*facts, ("Numbers", str(dtype).removeprefix("torch."))]
