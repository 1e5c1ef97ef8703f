"""The work of `vidtldr index add`, and what is printed of it."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import typer
from rich.console import Console
from rich.text import Text

from vidtldr.cli.failed_videos import print_failed_videos
from vidtldr.cli.index_model import typed_model
from vidtldr.cli.index_options import PipelineOptions
from vidtldr.cli.index_progress import index_progress
from vidtldr.cli.merge_options import MergeOptions
from vidtldr.cli.run_options import RunOptions
from vidtldr.cli.text import printable
from vidtldr.cli.umt_options import UMTOptions
from vidtldr.pipeline.discover import Discovered, discover
from vidtldr.pipeline.machine import default_batch_size, visible_gpus
from vidtldr.pipeline.request import IndexRequest, RunReport
from vidtldr.store.lance import require_lancedb
from vidtldr.store.rows import FailureRow
from vidtldr.store.settings import SETTINGS_FILE, read_settings
from vidtldr.tasks.pretrained import resolve_device

__all__ = ["print_report", "run_index"]

_MAX_FAILURES_SHOWN = 20


def run_index(
    sources: Sequence[str],
    into: Path,
    umt: UMTOptions,
    merging: MergeOptions,
    pipeline: PipelineOptions,
    segment_seconds: float | None,
    engine: str,
    run: RunOptions,
) -> RunReport:
    """Find the videos and index them, with progress on stderr.

    Raises:
        ValueError, OSError, ImportError, RuntimeError: With what is wrong and what to do.
    """
    require_lancedb()
    model = typed_model(umt, merging, into)
    found = discover(sources)
    _say_unreadable(found)
    if not found.files:
        raise ValueError(
            f"source must have videos in it, got {', '.join(map(repr, sources))} with none. Name "
            "files whose suffix is not that of a video one by one."
        )
    keep_tokens = pipeline.keep_tokens
    if (into / SETTINGS_FILE).exists():  # what is not typed is as the index has it
        settings = read_settings(into)
        segment_seconds = segment_seconds or settings.segment_seconds
        keep_tokens = keep_tokens or settings.keep_tokens
    device = resolve_device(umt.device)
    gpus = visible_gpus() if device.type == "cuda" and engine == "local" else [None]
    batch_size = pipeline.batch or default_batch_size(on_gpu=device.type != "cpu")
    request = IndexRequest(
        load=model.loader(run.time_limit, batch_size if pipeline.compiled else None),
        model=model.umt.name,
        options=model.options(),
        segment_seconds=segment_seconds,
        keep_tokens=keep_tokens,
        batch_size=batch_size,
        num_workers=pipeline.workers,
        time_limit_seconds=run.time_limit,
        memory_bytes=int(pipeline.worker_memory * 2**30),
        retry_failed=pipeline.retry_failed,
    )
    failures: list[FailureRow] = []
    with index_progress("compiling the model" if pipeline.compiled else "starting") as on_progress:
        if engine == "ray":
            from vidtldr.pipeline.ray import index_videos_with_ray

            report = index_videos_with_ray(
                into, found.files, request, on_progress=on_progress, on_failure=failures.append
            )
        else:
            from vidtldr.pipeline.local import index_videos

            report = index_videos(
                into,
                found.files,
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
    """Say what became of the run."""
    if as_json:
        print(json.dumps(asdict(report)))
        return
    parts = [f"{_count(report.num_indexed, 'video')} indexed ({_count(report.num_rows, 'row')})"]
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
            f"interrupted; {name} keeps what is done. The same command goes on from there", err=True
        )


def _print_failures(shown: Sequence[tuple[str, str]], num_failed: int, report: RunReport) -> None:
    console = Console(highlight=False)
    num_files = report.num_files
    if num_failed > len(shown):
        print_failed_videos(console, shown, num_files, f" ({num_failed} in all), the first")
    else:
        print_failed_videos(console, shown, num_files)


def _say_unreadable(found: Discovered) -> None:
    for folder, reason in found.unreadable:
        typer.echo(f"note: {printable(folder)} cannot be searched: {reason}", err=True)


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
