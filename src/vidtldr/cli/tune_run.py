"""The work of `vidtldr tune`."""

from collections.abc import Sequence
from math import ceil, floor, log10
from pathlib import Path

import typer
from rich.console import Console

from vidtldr.bench.environment import environment
from vidtldr.bench.result_store import ResultStore
from vidtldr.cli.bench_output import hand_over, missing_extras
from vidtldr.cli.failed_videos import print_failed_videos
from vidtldr.cli.load_pretrained import load_pretrained
from vidtldr.cli.load_umt_model import load_retrieval
from vidtldr.cli.progress import phases
from vidtldr.cli.quiet import quiet_transformers
from vidtldr.cli.run_options import RunOptions
from vidtldr.cli.text import one_line
from vidtldr.cli.tune_options import Compared, TuneFiles
from vidtldr.cli.tune_output import print_tuning
from vidtldr.cli.tune_page import tuning_page
from vidtldr.cli.umt_options import UMTOptions
from vidtldr.cli.write_output import write_json
from vidtldr.evaluate.annotations import read_retrieval
from vidtldr.evaluate.protocols import RETRIEVAL
from vidtldr.hosts.config import MergeConfig
from vidtldr.hosts.registry import find_host
from vidtldr.tune.clips import FailedVideo, TunedClip, read_clips
from vidtldr.tune.plot import tuning_plot
from vidtldr.tune.result import TuneResult
from vidtldr.tune.search import search
from vidtldr.tune.subject import (
    Subject,
    caption_subject,
    classifier_subject,
    label_subject,
    umt_subject,
)
from vidtldr.tune.target import Target
from vidtldr.tune.trials import Trials

__all__ = ["run_tuning", "unmet_message"]

CAPTIONS = RETRIEVAL["msvd"]  # several captions a video are allowed, each a text of its own


def run_tuning(
    videos: Sequence[str],
    umt: UMTOptions,
    target: Target,
    compared: Compared,
    files: TuneFiles,
    run: RunOptions,
    *,
    num_rounds: int,
) -> bool:
    """Search, print, draw and write.

    Args:
        videos: Video files.
        umt: Which model.
        target: What to reach.
        compared: By what drift is measured.
        files: What to write.
        run: How to read and print.
        num_rounds: Timed rounds.

    Returns:
        Whether every video could be used and everything that was asked for be drawn.

    Raises:
        ValueError, TypeError, NotImplementedError, OSError: With what is wrong and what to do; a
            target that is not met among them.
    """
    wanted = files.results(as_json=run.as_json)
    missing = missing_extras(wanted)
    quiet_transformers()
    subject = _load(umt, compared, videos, run.time_limit)
    find_host(subject.model)  # is known, before any video is read
    with phases() as on_step:
        clips, failed = read_clips(subject.reader, videos, on_step)
        _validate_clips(clips, failed)
        trials = Trials(subject, clips, ResultStore(files.trials), on_step)
        result = search(trials, target, num_rounds)
    console = Console(highlight=False, stderr=run.as_json)
    if not run.as_json:
        print_tuning(console, result, subject.kept_name)
    print_failed_videos(console, [(f.path, f.error) for f in failed], len(videos))
    _say_what_is_doubtful(result)
    report = result.to_dict() | {"environment": environment(trials.device)}
    report["failed"] = [{"video": each.path, "error": one_line(each.error)} for each in failed]
    written = _write(result, files.output)
    page = tuning_page(report, result, subject.kept_name)
    hand_over(report, wanted, missing, tuning_plot(result), page, written)
    if result.chosen is None:
        raise ValueError(unmet_message(result))
    return not failed and not (missing and files.is_drawing_asked)


def _load(
    umt: UMTOptions, compared: Compared, videos: Sequence[str], time_limit_seconds: float
) -> Subject:
    if compared.name == "labels":
        return label_subject(load_pretrained(umt, compared.file, None), time_limit_seconds)
    if not umt.is_umt:
        return classifier_subject(load_pretrained(umt, None, None), time_limit_seconds)
    if compared.file is None:
        return umt_subject(load_retrieval(umt), time_limit_seconds)
    captions = _captions(compared.file, videos)
    return caption_subject(load_retrieval(umt), captions, time_limit_seconds)


def _captions(file: str, videos: Sequence[str]) -> dict[str, list[str]]:
    """Captions of each video, which annotations name without its directory.

    Raises:
        ValueError: If the file is wrong, a video has none, or two videos have one name.
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
            f"--metric retrieval must have a caption of every video, got none of {missing[0]!r} in "
            f"{file!r}. Add it, or leave the video out."
        )
    return found


def _validate_names(videos: Sequence[str], where: str) -> None:
    seen: dict[str, str] = {}
    for video in videos:
        other = seen.setdefault(Path(video).name, video)
        if other != video:
            raise ValueError(
                f"--metric retrieval must find every video by its file's name alone, got {other!r} "
                f"and {video!r} in {where}. Rename one."
            )


def _validate_clips(clips: Sequence[TunedClip], failed: Sequence[FailedVideo]) -> None:
    if not clips:
        raise ValueError(
            f"videos must hold at least one that can be read, got {len(failed)} that cannot; the "
            f"first: {failed[0].error}"
        )
    if len(clips) < 4:
        number = "1 clip says" if len(clips) == 1 else f"{len(clips)} clips say"
        typer.echo(f"note: {number} little about other videos. Give eight or more.", err=True)


def _say_what_is_doubtful(result: TuneResult) -> None:
    if result.chosen is not None and result.chosen.speedup < 1:
        typer.echo(
            f"note: the schedule makes this model no faster here ({result.chosen.speedup:.2f}x). "
            "Small models gain nothing; tune on the device that will run it.",
            err=True,
        )


def _write(result: TuneResult, output: Path) -> list[tuple[str, Path]]:
    """Write the schedule; nothing if no setting reaches the target."""
    if result.chosen is None:
        return []
    config = result.chosen.config
    assert isinstance(config, MergeConfig)  # what merges nothing is never chosen
    write_json(output, config.to_dict())
    return [("schedule", output)]


def unmet_message(result: TuneResult) -> str:
    """What of the target can be met here, and what to type instead."""
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
        rest = f"at most {most} here, with drift {near.drift:.2g}, {got}. Lower it"
    else:
        least = _rounded_up(near.drift if name == "drift" else near.flop_ratio)
        rest = f"at least {least:g} here, at {near.speedup:.2f}x, {got}. Raise it"
    return f"--target {name} must be {rest}; the same command goes on from what is kept."


def _rounded_up(value: float) -> float:
    """To two digits that count, so that what is named can be reached."""
    unit = 10.0 ** (floor(log10(value)) - 1)
    return ceil(value / unit) * unit
