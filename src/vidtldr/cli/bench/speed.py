"""Implementation of `vidtldr bench latency` and `bench memory`."""

import itertools
import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import torch
from rich.console import Console

from vidtldr.bench.resident import MemoryRow, peak_in_fresh_process
from vidtldr.bench.roofline import Ceilings, measure_ceilings
from vidtldr.bench.scaling import ScalingRow, measure_scaling
from vidtldr.bench.speed import Setting, SpeedRow, measure_setting
from vidtldr.bench.speed_plot import latency_plot, memory_plot
from vidtldr.bench.speed_variants import UNMERGED
from vidtldr.bench.subject import Subject
from vidtldr.cli.bench.options import SpeedOptions
from vidtldr.cli.bench.pages import (
    hand_over,
    latency_page,
    memory_page,
    missing_extras,
    print_not_measured,
)
from vidtldr.cli.bench.subject import SpeedPlan, load_subject, plan_speed, prepare
from vidtldr.cli.bench.tables import print_latency, print_memory, print_scaling
from vidtldr.cli.load_model import notes_on_stderr
from vidtldr.cli.output_options import ResultOptions
from vidtldr.cli.terminal import phases, status
from vidtldr.config import MergeConfig
from vidtldr.hosts.registry import find_host
from vidtldr.measure.busyness import busiest
from vidtldr.measure.environment import environment
from vidtldr.measure.not_measured import NotMeasured
from vidtldr.steps import OnStep, steps_of

__all__ = ["run_latency_job", "run_memory_job"]

MOST_MAP_BYTES = 8 * 2**30


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
    """Measure latency at every setting, then print, write and plot the results.

    Args:
        speed: Model and settings, as typed.
        config: What to merge; None for the model's default schedule.
        choices: Score and metric for that default schedule.
        wanted: What to write.
        rounds: Timed rounds.
        scaling: Token counts to time attention at.
        roofline: Whether to measure the device's roofline ceilings.

    Returns:
        Whether every requested output was written.

    Raises:
        ValueError, OSError, NotImplementedError, ImportError: If an argument, a file or an extra is
            missing or invalid.
    """
    missing = missing_extras(wanted)
    device = prepare(speed)
    with notes_on_stderr():
        plans = plan_speed(speed, config, choices)
    rows: list[SpeedRow] = []
    curves: dict[str, list[ScalingRow]] = {}
    failed = NotMeasured(debug=speed.debug)
    with phases() as on_step:
        for plan in plans:
            subject = load_subject(plan.name)
            for setting in plan.settings:
                with failed.caught(setting.headline):
                    rows += _rows_of(subject, plan, setting, rounds, on_step)
        failed.validate_any(rows)
        for dtype in speed.parse_dtypes() if scaling else ():
            if curve := _curve(subject, dtype, scaling, device, rounds, failed, on_step):
                curves[dtype] = curve
    ceilings = _ceilings(speed, device, failed) if roofline else {}
    report = {
        "environment": environment(device),
        "model": speed.model,
        "schedules": [plan.schedule() for plan in plans],
        "rows": [row.to_dict() for row in rows],
        "scaling": {dtype: [row.to_dict() for row in curve] for dtype, curve in curves.items()},
        "ceilings": {dtype: each.to_dict() for dtype, each in ceilings.items()},
        "not_measured": failed.to_list(),
        **busiest(row.busy for row in rows).to_dict(),
        "note": "1 MAC = 2 FLOPs; speed-ups are ratios of the same rounds",
    }
    if not wanted.as_json:
        console = Console(highlight=False)
        print_latency(console, rows, ceilings)
        for dtype, curve in curves.items():
            print_scaling(console, dtype, curve)
    print_not_measured(failed)
    page = latency_page(report, rows, curves, ceilings)
    hand_over(report, wanted, missing, latency_plot(rows, curves), page)
    return not missing and not failed.errors


def _rows_of(
    subject: Subject, plan: SpeedPlan, setting: Setting, rounds: int, on_step: OnStep
) -> list[SpeedRow]:
    num_steps = len(plan.variants) * (rounds + 2)
    return measure_setting(
        subject.model,
        subject.pixel_values(setting.batch),
        setting,
        plan.variants,
        num_rounds=rounds,
        on_step=steps_of(on_step, setting.headline, num_steps),
    )


def _curve(
    subject: Subject,
    dtype: str,
    scaling: Sequence[int],
    device: torch.device,
    rounds: int,
    failed: NotMeasured,
    on_step: OnStep,
) -> list[ScalingRow]:
    host = find_host(subject.model)
    sizes = host.sizes(host.blocks[0])
    step = steps_of(on_step, f"attention, {dtype}", len(scaling))
    rows: list[ScalingRow] = []
    for num_tokens in scaling:
        with failed.caught(f"attention of {num_tokens} tokens, {dtype}"):
            rows += measure_scaling(
                num_tokens,
                num_heads=sizes.num_heads,
                channels=sizes.head_channels,
                batch=1,
                device=device,
                dtype=getattr(torch, dtype),
                num_rounds=rounds,
                most_map_bytes=MOST_MAP_BYTES,
            )
        step()
    return rows


def _ceilings(
    speed: SpeedOptions, device: torch.device, failed: NotMeasured
) -> dict[str, Ceilings]:
    found: dict[str, Ceilings] = {}
    with status("measuring what the device can do"):
        for dtype in speed.parse_dtypes():
            with failed.caught(f"what the device can do in {dtype}"):
                found[dtype] = measure_ceilings(device, getattr(torch, dtype))
    return found


# Without -P, a file such as json.py in the current directory would be imported.
CHILD = ("-P", "-m", "vidtldr.cli.bench.subject")


def run_memory_job(
    speed: SpeedOptions,
    config: MergeConfig | None,
    choices: dict[str, Any],
    wanted: ResultOptions,
    *,
    rounds: int,
) -> bool:
    """Measure each variant's memory in separate processes, then print, write and plot.

    Args:
        speed: Model and settings, as typed.
        config: What to merge; None for the model's default schedule.
        choices: Score and metric for that default schedule.
        wanted: What to write.
        rounds: Number of processes for each variant; the median is reported.

    Returns:
        Whether every requested output was written.

    Raises:
        ValueError, OSError, NotImplementedError, ImportError: If an argument, a file or an extra is
            missing or invalid.
    """
    missing = missing_extras(wanted)
    device = prepare(speed)
    plans = plan_speed(speed, config, choices)
    rows: list[MemoryRow] = []
    failed = NotMeasured(debug=speed.debug)
    with phases() as on_step:
        for plan in plans:
            for setting in plan.settings:
                rows += _memory_rows(plan, setting, speed.threads, rounds, failed, on_step)
    failed.validate_any(rows)
    report = {
        "environment": environment(device),
        "model": speed.model,
        "schedules": [plan.schedule() for plan in plans],
        "rows": [row.to_dict() for row in rows],
        "not_measured": failed.to_list(),
    }
    if not wanted.as_json:
        print_memory(Console(highlight=False), rows)
    print_not_measured(failed)
    hand_over(report, wanted, missing, memory_plot(rows), memory_page(report, rows))
    return not missing and not failed.errors


def _memory_rows(
    plan: SpeedPlan,
    setting: Setting,
    num_threads: int | None,
    rounds: int,
    failed: NotMeasured,
    on_step: OnStep,
) -> list[MemoryRow]:
    """Measure in turn, at one setting, the peaks of the variants whose processes succeed.

    Each process gets an order for `measure_peak`. If the unmerged model fails, there are no rows.
    """
    order = {
        "subject": asdict(plan.name),
        "merge": plan.merge.to_dict(),
        "batch": setting.batch,
        "dtype": setting.dtype,
        "num_threads": num_threads,
    }
    peaks: dict[str, list[int]] = {variant.name: [] for variant in plan.variants}
    num_steps = rounds * len(peaks)
    for step, (turn, name) in enumerate(itertools.product(range(rounds), list(peaks)), start=1):
        if len(peaks[name]) == turn:  # has not failed so far
            with failed.caught(f"{setting.headline}, {name}"):
                peaks[name].append(peak_in_fresh_process(CHILD, json.dumps(order | {"peer": name})))
        if not peaks[UNMERGED]:
            return []
        on_step(setting.headline, step, num_steps)
    base = tuple(peaks[UNMERGED])
    whole = {
        variant: found for variant, found in peaks.items() if len(found) == len(base) == rounds
    }
    return [MemoryRow(variant, setting, tuple(found), base) for variant, found in whole.items()]
