"""Load the model that the options name, and print notes about it on stderr."""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path

import typer
from torch import nn

from vidtldr.budget.counts import resolve_budget
from vidtldr.cli.merge_options import SUGGESTED, UNMERGED_NOTE, saved_note
from vidtldr.cli.model_options import ModelOptions
from vidtldr.cli.terminal import in_flags, one_line, say_compiled, status
from vidtldr.config import MergeConfig
from vidtldr.hosts.registry import find_host
from vidtldr.models.umt.answering import UMTAnswering
from vidtldr.models.umt.retrieval import UMTRetrieval
from vidtldr.tasks import load, video_language
from vidtldr.tasks.clip_reader import umt_reader
from vidtldr.tasks.dual_encoder import DualEncoder
from vidtldr.tasks.embed import Embedder
from vidtldr.tasks.pretrained import Pretrained
from vidtldr.tasks.quiet import quiet_transformers
from vidtldr.tasks.video_features import VideoEncoding
from vidtldr.tasks.video_language import VideoLanguageModel

__all__ = [
    "BUNDLED_NOTE",
    "load_answering",
    "load_classifier",
    "load_embedder",
    "load_model",
    "load_retrieval",
    "load_video_language_model",
    "notes_on_stderr",
    "say_if_unmerged",
    "video_encoding",
]

BUNDLED_NOTE = "bundled shapes model: it knows coloured shapes, not your world"


def say_if_unmerged(model: nn.Module | None, merge: MergeConfig | None, spec: ModelOptions) -> None:
    """Print that nothing merges and what could: its own schedule, or as much as is suggested."""
    if merge is not None or model is None:
        return
    note = saved_note(spec)
    if note is not None:
        typer.echo(note, err=True)
        return
    try:
        resolve_budget(SUGGESTED, find_host(model))
    except (ValueError, NotImplementedError):
        return
    typer.echo(UNMERGED_NOTE, err=True)


@contextmanager
def notes_on_stderr() -> Iterator[None]:
    """Print the library's warnings as notes, one line each, also if an error follows them."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        try:
            yield
        finally:
            for warning in caught:
                if warning.category is UserWarning:
                    typer.echo(f"note: {one_line(in_flags(str(warning.message)))}", err=True)


def _say_frames(num_frames: int, what: str) -> None:
    """Print that an image model sees single frames, and what becomes of them."""
    if num_frames == 1:
        typer.echo("note: an image model sees one frame of each video", err=True)
        return
    typer.echo(
        f"note: an image model sees {num_frames} frames one by one, and their {what} are averaged",
        err=True,
    )


def load_retrieval(options: ModelOptions) -> UMTRetrieval:
    """Call `tasks.load.load_retrieval`; print a note if the model is the bundled one."""
    with _loading(options):
        return load.load_retrieval(options)


def load_answering(options: ModelOptions) -> UMTAnswering:
    """Call `tasks.load.load_answering`; print a note if the model is the bundled one."""
    with _loading(options):
        return load.load_answering(options)


def load_classifier(
    options: ModelOptions, labels: Sequence[str] | None, template: str | None = None
) -> Pretrained:
    """Call `tasks.load.load_classifier`; print a note if it is bundled or an image model."""
    with _loading(options):
        pretrained = load.load_classifier(options, labels, template)
    if pretrained.sees_frames:
        _say_frames(pretrained.num_frames, "logits")
    return pretrained


def load_model(
    options: ModelOptions, labels: Sequence[str] | None = None
) -> tuple[Pretrained, DualEncoder | None]:
    """Call `tasks.load.load_model`; print a note if it is an image model."""
    with _loading(options):
        pretrained, dual = load.load_model(options, labels)
    if pretrained.sees_frames:
        _say_frames(pretrained.num_frames, "logits" if pretrained.labels else "vectors")
    return pretrained, dual


def load_embedder(
    options: ModelOptions,
    merge: MergeConfig | None,
    time_limit_seconds: float,
    compile_for: int | None = None,
) -> Embedder:
    """Call `tasks.load.load_embedder`; report the time and the gain of compiling."""
    with _loading(options, "loading and compiling the model" if compile_for else None):
        embedder = load.load_embedder(
            options, merge, time_limit_seconds=time_limit_seconds, compile_for=compile_for
        )
    if embedder.sees_frames:
        _say_frames(embedder.reader.sampling.num_frames, "vectors")
    say_compiled(embedder.compiled)
    return embedder


def load_video_language_model(options: ModelOptions) -> VideoLanguageModel:
    """Call `tasks.video_language.load_video_language_model`."""
    with _loading(options):
        return video_language.load_video_language_model(options)


@contextmanager
def _loading(options: ModelOptions, what: str | None = None) -> Iterator[None]:
    if options.is_bundled:
        typer.echo(BUNDLED_NOTE, err=True)
    quiet_transformers()
    with status(what or "loading the model"), notes_on_stderr():
        yield


def video_encoding(
    model: UMTRetrieval | UMTAnswering,
    merge: MergeConfig | None,
    time_limit_seconds: float,
    *,
    cache: Path | None = None,
    compile_for: int | None = None,
) -> VideoEncoding:
    """Read and encode videos; with `compile_for`, first compile the model for that batch size.

    Raises:
        ValueError, NotImplementedError, ImportError: As `VideoEncoding`.
    """
    reader = umt_reader(model.config, time_limit_seconds=time_limit_seconds)
    if merge is not None:
        with notes_on_stderr():  # about this device's latency, which is measured once, here
            resolve_budget(merge, find_host(model))
    with status("compiling the model") if compile_for else nullcontext():
        encoding = VideoEncoding(model, reader, merge, cache_dir=cache, compile_for=compile_for)
    say_compiled(encoding.compiled)
    return encoding
