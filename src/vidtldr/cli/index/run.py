"""Implementation of `vidtldr index`: choose the model, index the videos, print what there is."""

import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars
from rich.table import Table
from rich.text import Text

from vidtldr.cli.index.command import PipelineOptions
from vidtldr.cli.load_model import BUNDLED_NOTE, notes_on_stderr
from vidtldr.cli.merge_options import UNMERGED_NOTE, MergeOptions, saved_note
from vidtldr.cli.model_options import ModelOptions
from vidtldr.cli.run_options import RunOptions
from vidtldr.cli.terminal import (
    counted,
    duration,
    lines_every_ten_seconds,
    one_line,
    print_failed_videos,
    printable,
    rate,
)
from vidtldr.config import MergeConfig
from vidtldr.pipeline.machine import default_batch_size, visible_gpus
from vidtldr.pipeline.request import Progress, RunReport, request_for
from vidtldr.store.lance import validate_directory
from vidtldr.store.new_index import validate_new_index
from vidtldr.store.rows import FailureRow
from vidtldr.store.settings import SETTINGS_FILE, IndexSettings, read_settings
from vidtldr.tasks.exported.formats import FORMATS, is_exported
from vidtldr.tasks.exported.record import read_record
from vidtldr.tasks.model_files import directory_here
from vidtldr.tasks.model_spec import REMEMBERED
from vidtldr.tasks.pretrained import resolve_device

__all__ = [
    "IndexModel",
    "model_of_index",
    "print_fields",
    "print_report",
    "run_index",
    "typed_model",
]


class IndexModel(NamedTuple):
    """A model and a schedule, as typed or as stored in the index."""

    spec: ModelOptions
    merge: MergeConfig | None


def typed_model(spec: ModelOptions, merging: MergeOptions, directory: Path) -> IndexModel:
    """Return the typed model or, if none is typed, that of an index in the directory.

    Raises:
        ValueError, FileNotFoundError: If what is typed is malformed or does not exist.
    """
    merge = merging.parse(spec)
    is_typed = merging != MergeOptions() or any(
        getattr(spec, name) != getattr(ModelOptions(), name) for name in REMEMBERED
    )
    if not is_typed and (directory / SETTINGS_FILE).exists():
        return model_of_index(read_settings(directory), spec)
    spec.validate(takes_exported=True)
    return IndexModel(spec.with_absolute_paths(), merge)


def model_of_index(settings: IndexSettings, spec: ModelOptions) -> IndexModel:
    """Return the model that an index was made with, on the device typed now.

    Raises:
        FileNotFoundError: If its files are no longer where they were.
        ValueError: If it would have to be downloaded, or the stored options are damaged.
    """
    options: Mapping[str, Any] = settings.options
    known = {name: options[name] for name in REMEMBERED if name in options}
    for name, value in known.items():
        kind, rule = (int, "a whole number") if name == "frames" else (str, "text")
        if value is not None and type(value) is not kind:
            raise ValueError(
                f"{name} must be {rule} in the options of the index's {SETTINGS_FILE}, got "
                f"{value!r:.100}. Bring back a copy of the file, or name the model."
            )
    spec = ModelOptions(**known, device=spec.device)
    if spec.is_umt:
        _ = spec.checkpoint
    elif spec.model is not None:
        spec = replace(spec, model=_on_this_machine(spec.model))
    merge = options.get("merge")
    return IndexModel(spec, None if merge is None else MergeConfig.from_dict(merge))


def _on_this_machine(model: str) -> str:
    """The directory of a model that an index names; only what is typed is downloaded or run."""
    if is_exported(model):
        if not FORMATS[read_record(model).format].is_code:
            return model
        raise ValueError(
            f"`model` must be named where it can run any code, got an index of {model!r}. If you "
            f"trust whoever made the two, add `model={model}`."
        )
    if (directory := directory_here(model)) is not None:
        return directory
    raise ValueError(
        f"`model` must be named where it is not on this machine, got an index of {model!r}. If you "
        f"trust whoever made the index, add `model={model}`."
    )


_MAX_FAILURES_SHOWN = 20


def run_index(
    files: Sequence[str],
    into: Path,
    spec: ModelOptions,
    merging: MergeOptions,
    pipeline: PipelineOptions,
    segment_seconds: float | None,
    engine: str,
    run: RunOptions,
) -> RunReport:
    """Index videos, with progress on stderr.

    Raises:
        ValueError, OSError, ImportError, RuntimeError: If an argument, a file or an extra is
            missing or invalid.
    """
    validate_directory(into)
    model = typed_model(spec, merging, into)
    keep_tokens = pipeline.keep_tokens
    if (into / SETTINGS_FILE).exists():  # options not typed come from the index
        settings = read_settings(into)
        segment_seconds = segment_seconds or settings.segment_seconds
        keep_tokens = keep_tokens or settings.keep_tokens
    else:
        validate_new_index(into)  # before the model is loaded
        # An index that exists keeps its schedule, an exported file its own.
        if model.merge is None and not model.spec.is_exported:
            typer.echo(saved_note(spec) or UNMERGED_NOTE, err=True)
    if model.spec.is_bundled:
        typer.echo(BUNDLED_NOTE, err=True)
    device = resolve_device(spec.device)
    gpus = visible_gpus() if device.type == "cuda" and engine == "local" else [None]
    batch_size = pipeline.batch or default_batch_size(on_gpu=device.type != "cpu")
    request = request_for(
        model.spec.plain(),
        model.merge,
        time_limit_seconds=run.time_limit,
        compile_for=batch_size if pipeline.compiled else None,
        segment_seconds=segment_seconds,
        keep_tokens=keep_tokens,
        batch_size=batch_size,
        num_workers=pipeline.workers,
        memory_bytes=int(pipeline.worker_memory * 2**30),
        retry_failed=pipeline.retry_failed,
    )
    failures: list[FailureRow] = []
    first = "compiling the model" if pipeline.compiled else "starting"
    with notes_on_stderr(), index_progress(first) as on_progress:
        if engine == "ray":
            from vidtldr.pipeline.ray import index_videos_with_ray

            with redirect_stdout(sys.stderr):  # where Ray prints what it retries
                report = index_videos_with_ray(
                    into, files, request, on_progress=on_progress, on_failure=failures.append
                )
        else:
            from vidtldr.pipeline.local import index_videos

            report = index_videos(
                into,
                files,
                request,
                gpus=gpus,
                on_progress=on_progress,
                on_failure=failures.append,
            )
    if not run.as_json:
        shown = [(each.path, each.reason) for each in failures[:_MAX_FAILURES_SHOWN]]
        _print_failures(shown, len(failures), report)
    return report


def print_report(report: RunReport, into: Path, *, as_json: bool) -> None:
    """Print the results of the run."""
    if as_json:
        print(json.dumps(asdict(report)))
        return
    parts = [f"{counted(report.num_indexed, 'video')} indexed ({counted(report.num_rows, 'row')})"]
    if report.num_unchanged:
        parts.append(f"{report.num_unchanged} unchanged")
    if report.num_failed:
        parts.append(f"{report.num_failed} failed")
    if report.num_failed_before:
        parts.append(f"{report.num_failed_before} failed before (--retry-failed reads them again)")
    speed = ""
    if report.num_indexed:
        speed = f", {report.num_indexed / report.seconds:.1f} videos/s"
    name = printable(str(into))
    console = Console(highlight=False, soft_wrap=False)
    console.print(Text(f"{name}: {', '.join(parts)}; {report.seconds:.1f} s{speed}"))
    if report.ann is not None:
        ann = report.ann
        found = (
            f"approximate index built in {ann.build_seconds:.0f} s: it finds {ann.recall:.1%} of "
            f"the exact ten nearest, in {ann.search_ms:.0f} ms instead of {ann.exact_ms:.0f} ms"
        )
        console.print(Text(found))
    if report.was_interrupted:
        typer.echo(
            f"interrupted; {name} keeps the finished videos. Run the same command again to resume",
            err=True,
        )


def _print_failures(shown: Sequence[tuple[str, str]], num_failed: int, report: RunReport) -> None:
    console = Console(highlight=False)
    num_files = report.num_files
    if num_failed > len(shown):
        print_failed_videos(console, shown, num_files, f" ({num_failed} in all), the first")
    else:
        print_failed_videos(console, shown, num_files)


_UNITS = ("bytes", "KB", "MB", "GB", "TB")


def print_fields(
    index: Path, about: Mapping[str, Any], failures: Sequence[tuple[str, str]]
) -> None:
    """Print the fields of `index status`, one per line, and the failures below them."""
    segment = about["segment_seconds"]
    rows = {
        "videos": f"{about['num_videos']:,}",
        "rows": f"{about['num_rows']:,} of {about['num_channels']} channels"
        + (", with tokens" if about["keeps_tokens"] else ""),
        "failures": f"{about['num_failures']:,}"
        + ("" if failures or not about["num_failures"] else " (--failures lists them)"),
        "model": printable(str(about["model"])),
        "merged": printable(str(about["schedule"])),
        "segments": "whole videos" if segment is None else f"{segment:g} s",
        "size": size_text(about["bytes"]),
    }
    if about["ann_recall"] is not None:
        rows["search"] = f"approximate, {about['ann_recall']:.1%} of the exact ten nearest"
    if about["is_being_written"]:
        rows["writer"] = "at work just now"
    console = Console(highlight=False)
    console.print(Text(printable(str(index))))
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 2))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows.items():
        table.add_row(name, Text(value))
    console.print(table)
    for path, reason in failures:
        name = "" if repr(path) in reason else f"{printable(path)}: "
        console.print(Text(f"  {name}{one_line(reason)}", style="red"))


def size_text(num_bytes: float) -> str:
    """Format a size with a decimal unit."""
    for unit in _UNITS[:-1]:
        if num_bytes < 1000:
            return f"{num_bytes:.0f} {unit}" if unit == "bytes" else f"{num_bytes:.1f} {unit}"
        num_bytes /= 1000
    return f"{num_bytes:.1f} {_UNITS[-1]}"


@contextmanager
def index_progress(first: str) -> Iterator[Callable[[Progress], None]]:
    """Show the progress of a run.

    Args:
        first: Description of the work before the first video is done.

    Yields:
        A function to call with the state of the run, as often as needed.
    """
    console = Console(stderr=True)
    clock = _Clock(first)
    if not console.is_terminal:
        with lines_every_ten_seconds(clock.line):
            yield clock.update
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(compact=True),
        TextColumn("{task.fields[failed]}", style="red"),
    )
    with Bars(*columns, console=console, transient=True) as bars:
        task = bars.add_task(first, total=None, rate="", failed="")

        def show(state: Progress) -> None:
            clock.update(state)
            failed = f"{state.num_failed} failed" if state.num_failed else ""
            bars.update(
                task,
                description="videos",
                completed=state.num_done,
                total=state.num_files,
                rate=clock.rate(),
                failed=failed,
            )

        yield show


class _Clock:
    """The latest state of a run, and its speed since the model was loaded."""

    def __init__(self, first: str) -> None:
        self._first = first
        self._state: Progress | None = None
        self._start = 0.0

    def update(self, state: Progress) -> None:
        if self._state is None:  # the model is loaded and compiled
            self._start = time.monotonic()
        self._state = state

    def rate(self) -> str:
        speed = self._speed()
        return rate(speed) if speed else ""

    def line(self) -> str:
        state, speed = self._state, self._speed()
        if state is None:
            return self._first
        left = ""
        if speed:
            seconds = (state.num_files - state.num_done) / speed
            left = f", {rate(speed)}, {duration(seconds)} left"
        failed = f", {state.num_failed} failed" if state.num_failed else ""
        return f"{state.num_done} of {state.num_files} videos{left}{failed}"

    def _speed(self) -> float:
        seconds = time.monotonic() - self._start
        if self._state is None or seconds < 1:
            return 0.0
        return self._state.num_done / seconds
