"""The work of `vidtldr bench latency`."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import torch
from rich.console import Console

from vidtldr.bench.environment import environment
from vidtldr.bench.roofline import Ceilings, measure_ceilings
from vidtldr.bench.scaling import ScalingRow, measure_scaling
from vidtldr.bench.speed import Setting, SpeedRow, measure_setting
from vidtldr.bench.speed_peers import choose_peers
from vidtldr.bench.speed_plot import latency_plot
from vidtldr.bench.subject import Subject
from vidtldr.cli.bench_output import hand_over, missing_extras
from vidtldr.cli.bench_subject import SubjectName, load_subject
from vidtldr.cli.progress import phases, status
from vidtldr.cli.quiet import quiet_transformers
from vidtldr.cli.result_options import ResultOptions
from vidtldr.cli.speed_options import SpeedOptions
from vidtldr.cli.speed_pages import latency_page
from vidtldr.cli.speed_tables import print_latency, print_scaling
from vidtldr.cli.typed_dtype import typed_dtype
from vidtldr.hosts.config import MergeConfig
from vidtldr.hosts.registry import find_host
from vidtldr.tasks.pretrained import resolve_device

__all__ = ["config_for", "prepare", "run_latency_job", "schedule_of", "subject_names"]

OnStep = Callable[[str, int, int], None]
MOST_MAP_BYTES = 8 * 2**30
SCALING_ROUNDS = 3


def run_latency_job(
    speed: SpeedOptions,
    config: MergeConfig | None,
    choices: dict[str, Any],
    wanted: ResultOptions,
    *,
    rounds: int,
    scaling: Sequence[int],
    roofline: bool,
) -> bool:
    """Measure every setting, print, write and draw.

    Args:
        speed: As typed.
        config: What to merge; None for a schedule of the model's own.
        choices: Score and metric of the latter.
        wanted: What to write.
        rounds: Timed rounds.
        scaling: Numbers of tokens to time attention at.
        roofline: Whether to measure the device's ceilings.

    Returns:
        Whether everything that was asked for is there: without matplotlib no plot is.

    Raises:
        ValueError, OSError, NotImplementedError, ImportError: With what is wrong and what to do.
    """
    missing = missing_extras(wanted)
    device = prepare(speed)
    rows: list[SpeedRow] = []
    schedules: list[dict[str, Any]] = []
    curves: dict[str, list[ScalingRow]] = {}
    with phases() as on_step:
        for name in subject_names(speed):
            subject = load_subject(name)
            merge = config_for(subject, config, choices)
            schedules.append(schedule_of(subject, merge))
            rows += _rows_of(subject, merge, speed, rounds, on_step)
        for dtype in speed.parse_dtypes() if scaling else ():
            curves[dtype] = _curve(subject, dtype, scaling, device, on_step)
    ceilings = _ceilings(speed, device) if roofline else {}
    report = {
        "environment": environment(device),
        "model": speed.model,
        "schedules": schedules,
        "rows": [row.to_dict() for row in rows],
        "scaling": {dtype: [row.to_dict() for row in curve] for dtype, curve in curves.items()},
        "ceilings": {dtype: each.to_dict() for dtype, each in ceilings.items()},
        "note": "1 MAC = 2 FLOPs; speed-ups are ratios of the same rounds",
    }
    if not wanted.as_json:
        console = Console(highlight=False)
        print_latency(console, rows, ceilings)
        for dtype, curve in curves.items():
            print_scaling(console, dtype, curve)
    page = latency_page(report, rows, curves, ceilings)
    hand_over(report, wanted, missing, latency_plot(rows, curves), page)
    return not missing


def subject_names(speed: SpeedOptions) -> Iterator[SubjectName]:
    """The model at every size that is asked for."""
    for frames, side in itertools.product(speed.counts("frames"), speed.counts("sizes")):
        yield SubjectName(speed.model, speed.arch, frames, side, speed.device)


def config_for(
    subject: Subject, config: MergeConfig | None, choices: dict[str, Any]
) -> MergeConfig:
    """What to merge in one model."""
    return config or MergeConfig(r=subject.r, **choices)


def schedule_of(subject: Subject, merge: MergeConfig) -> dict[str, Any]:
    """What is merged in one model, ready for JSON."""
    return {"input_shape": subject.input_shape, "merge": merge.to_dict()}


def prepare(speed: SpeedOptions) -> torch.device:
    """Check device and dtypes and set the number of threads, before anything is measured.

    Raises:
        ValueError: If the device is not there or does not compute a dtype.
    """
    device = resolve_device(speed.device)
    for dtype in speed.parse_dtypes():
        typed_dtype(dtype, device)  # refuses those that the device does not compute
    if speed.threads is not None:
        torch.set_num_threads(speed.threads)
    quiet_transformers()
    return device


def _rows_of(
    subject: Subject, merge: MergeConfig, speed: SpeedOptions, rounds: int, on_step: OnStep
) -> list[SpeedRow]:
    peers = choose_peers(merge, speed.parse_peers(), with_compiled=speed.compiled)
    rows: list[SpeedRow] = []
    for batch, dtype in itertools.product(speed.counts("batches"), speed.parse_dtypes()):
        assert batch is not None
        setting = Setting(batch, dtype, subject.num_frames, subject.image_size)
        what = f"batch {batch}, {dtype}, {subject.num_frames} x {subject.image_size}"
        step = partial(_step, on_step, what, itertools.count(1), len(peers) * (rounds + 2))
        rows += measure_setting(
            subject.model,
            subject.pixel_values(batch),
            setting,
            peers,
            num_rounds=rounds,
            on_step=step,
        )
    return rows


def _curve(
    subject: Subject, dtype: str, scaling: Sequence[int], device: torch.device, on_step: OnStep
) -> list[ScalingRow]:
    host = find_host(subject.model)
    sizes = host.sizes(host.blocks[0])
    return measure_scaling(
        scaling,
        num_heads=sizes.num_heads,
        channels=sizes.head_channels,
        batch=1,
        device=device,
        dtype=getattr(torch, dtype),
        num_rounds=SCALING_ROUNDS,
        most_map_bytes=MOST_MAP_BYTES,
        on_step=partial(_step, on_step, f"attention, {dtype}", itertools.count(1), len(scaling)),
    )


def _step(on_step: OnStep, what: str, done: Iterator[int], num_steps: int) -> None:
    on_step(what, next(done), num_steps)


def _ceilings(speed: SpeedOptions, device: torch.device) -> dict[str, Ceilings]:
    with status("measuring what the device can do"):
        return {
            dtype: measure_ceilings(device, getattr(torch, dtype)) for dtype in speed.parse_dtypes()
        }
