"""Implementation of `vidtldr tune`."""

from collections.abc import Sequence
from math import ceil, floor, log10
from pathlib import Path

import typer
from rich.console import Console

from vidtldr.cli.bench.pages import hand_over, missing_extras
from vidtldr.cli.load_model import load_classifier, load_model, load_retrieval, notes_on_stderr
from vidtldr.cli.model_options import ModelOptions
from vidtldr.cli.run_options import RunOptions
from vidtldr.cli.terminal import (
    counted,
    one_line,
    phases,
    print_failed_videos,
    print_video_notes,
)
from vidtldr.cli.tune.command import Compared, TuneFiles
from vidtldr.cli.tune.output import print_tuning, tuning_doubts, tuning_page
from vidtldr.config_file import write_config
from vidtldr.evaluate.annotations import read_retrieval
from vidtldr.evaluate.protocols import RETRIEVAL
from vidtldr.hosts.registry import find_host
from vidtldr.measure.environment import environment
from vidtldr.measure.result_store import ResultStore
from vidtldr.tasks.quiet import quiet_transformers
from vidtldr.tune.clips import FailedVideo, TunedClip, read_clips
from vidtldr.tune.plot import tuning_plot
from vidtldr.tune.result import TuneResult
from vidtldr.tune.search import search
from vidtldr.tune.split import ClipSplit, CopiedVideo, split_clips, without_copies
from vidtldr.tune.subject import (
    Subject,
    caption_subject,
    dual_subject,
    label_subject,
    pretrained_subject,
    umt_subject,
)
from vidtldr.tune.target import Target
from vidtldr.tune.trials import Trials

__all__ = ["run_tuning", "unmet_message"]

NUM_CLIPS_ADVISED = 8
CAPTIONS = RETRIEVAL["msvd"]  # allows several captions per video, each a separate text


def run_tuning(
    videos: Sequence[str],
    spec: ModelOptions,
    target: Target,
    compared: Compared,
    files: TuneFiles,
    run: RunOptions,
    *,
    num_rounds: int,
) -> bool:
    """Search for a schedule, then print, plot and write the results.

    Args:
        videos: Video files.
        spec: Which model.
        target: What to reach.
        compared: How drift is measured.
        files: What to write.
        run: How to read and print.
        num_rounds: Timed rounds.

    Returns:
        Whether every video could be used and every requested plot and page was made.

    Raises:
        ValueError, TypeError, NotImplementedError, OSError: If an argument, a file or an extra is
            missing or invalid, or the target is not met.
    """
    wanted = files.results(as_json=run.as_json)
    missing = missing_extras(wanted)
    quiet_transformers()
    subject = _load(spec, compared, videos, run.time_limit)
    find_host(subject.model)  # fails before any video is read if unknown
    with phases() as on_step:
        read, failed = read_clips(subject.reader, videos, on_step)
        clips, copies = without_copies(read)
        split = _split(clips, failed, copies)
        trials = Trials(subject, split.search, ResultStore(files.trials), on_step)
        with notes_on_stderr():
            result = search(trials, split.held_out, target, num_rounds)
    console = Console(highlight=False, stderr=run.as_json)
    if not run.as_json:
        print_tuning(console, result, subject.kept_name)
    print_failed_videos(console, [(f.path, f.error) for f in failed], len(videos))
    print_video_notes((clip.path, clip.notes) for clip in clips)
    for doubt in tuning_doubts(result):
        typer.echo(f"note: {doubt}", err=True)
    about = environment(trials.device)
    report = result.to_dict() | {"environment": about}
    for name, part in split._asdict().items():
        report[f"{name}_videos"] = [clip.path for clip in part]
    report["failed"] = [{"video": each.path, "error": one_line(each.error)} for each in failed]
    report["notes"] = [{"video": each.path, "notes": each.notes} for each in clips if each.notes]
    report["copies"] = [{"video": each.path, "copy_of": each.copy_of} for each in copies]
    schedule = result.schedule(about)
    if schedule is not None:
        write_config(schedule, files.output)
    written = [] if schedule is None else [("schedule", files.output)]
    page = tuning_page(report, result, subject.kept_name)
    hand_over(report, wanted, missing, tuning_plot(result), page, written)
    if result.chosen is None:
        raise ValueError(unmet_message(result))
    return not failed and not (missing and files.is_drawing_asked)


def _load(
    spec: ModelOptions, compared: Compared, videos: Sequence[str], time_limit_seconds: float
) -> Subject:
    if compared.name == "labels":
        return label_subject(load_classifier(spec, compared.labels), time_limit_seconds)
    captions = None if compared.file is None else _captions(compared.file, videos)
    if not spec.is_umt:
        pretrained, dual = load_model(spec)
        if captions is None:
            return pretrained_subject(pretrained, time_limit_seconds)
        if dual is None:
            raise ValueError(
                "--drift-by retrieval must come with a model that reads texts, as UMT, CLIP and "
                f"SigLIP do, got --model {spec.model!r}. Use feature-cosine or labels."
            )
        return dual_subject(pretrained, dual, captions, time_limit_seconds)
    if captions is None:
        return umt_subject(load_retrieval(spec), time_limit_seconds)
    return caption_subject(load_retrieval(spec), captions, time_limit_seconds)


def _captions(file: str, videos: Sequence[str]) -> dict[str, list[str]]:
    """Read the captions of each video, which annotations name without its directory.

    Raises:
        ValueError: If the file is invalid, a video has none, or two videos share a name.
    """
    annotated = read_retrieval(file, CAPTIONS)
    _validate_names(videos, "videos")
    asked = {Path(video).name for video in videos}
    _validate_names([name for name in annotated.videos if Path(name).name in asked], repr(file))
    by_name = {
        Path(name).name: [annotated.texts[text] for text in texts]
        for name, texts in zip(annotated.videos, annotated.texts_of_video, strict=True)
    }
    found = {video: by_name.get(Path(video).name, []) for video in videos}
    missing = [video for video, texts in found.items() if not texts]
    if missing:
        raise ValueError(
            f"--drift-by retrieval must have a caption of every video, got none of {missing[0]!r} "
            f"in {file!r}. Add it, or leave the video out."
        )
    return found


def _validate_names(videos: Sequence[str], where: str) -> None:
    seen: dict[str, str] = {}
    for video in videos:
        other = seen.setdefault(Path(video).name, video)
        if other != video:
            raise ValueError(
                f"--drift-by retrieval must find every video by its file's name alone, got "
                f"{other!r} and {video!r} in {where}. Rename one."
            )


def _split(
    clips: Sequence[TunedClip], failed: Sequence[FailedVideo], copies: Sequence[CopiedVideo]
) -> ClipSplit:
    """Hold out half of the clips, with a note if they are few or others are copies of them.

    Raises:
        ValueError: If fewer than two clips differ in content.
    """
    try:
        split = split_clips(clips)
    except ValueError as error:
        why = [f"The first of {len(failed)} that cannot: {each.error}" for each in failed[:1]]
        raise ValueError(" ".join([str(error), *why])) from None
    if copies:
        typer.echo(
            f"note: left out {counted(len(copies), 'video')} with the content of others, such as "
            f"{copies[0].path!r}, a copy of {copies[0].copy_of!r}",
            err=True,
        )
    if len(clips) < NUM_CLIPS_ADVISED:
        searched, held_out = map(len, split)
        typer.echo(
            f"note: {len(clips)} clips, {searched} searched and {held_out} held out, say little "
            f"about other videos. Give {NUM_CLIPS_ADVISED} or more.",
            err=True,
        )
    return split


def unmet_message(result: TuneResult) -> str:
    """Return how much of the target can be met here, and what to type instead."""
    near, name = result.nearest, result.target.name
    got = f"got {result.target.value:g}"
    if name == "speedup":
        most = floor(100 * near.speedup) / 100
        if most < 1:
            return (
                "--target must be drift= or flop-ratio= here, where nothing is faster than the "
                f"unmerged model, got {result.target}; the nearest is {most}x as fast. Use "
                "--target flop-ratio=0.6."
            )
        rest = f"at most {most} here, with drift {near.measured.mean:.2g}, {got}. Lower it"
    else:
        least = _rounded_up(near.drift if name == "drift" else near.flop_ratio)
        rest = f"at least {least:g} here, at {near.speedup:.2f}x, {got}. Raise it"
    return f"--target {name} must be {rest}; run the same command again to resume."


def _rounded_up(value: float) -> float:
    """Round up to two significant digits, so that the named target can be reached."""
    unit = 10.0 ** (floor(log10(value)) - 1)
    return ceil(value / unit) * unit
