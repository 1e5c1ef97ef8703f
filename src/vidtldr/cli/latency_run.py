"""The work of `vidtldr bench latency`."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import torch
from rich.console import Console

from vidtldr.bench.environment import environment
from vidtldr.bench.not_measured import NotMeasured
from vidtldr.bench.roofline import Ceilings, measure_ceilings
from vidtldr.bench.scaling import ScalingRow, measure_scaling
from vidtldr.bench.speed import Setting, SpeedRow, measure_setting
from vidtldr.bench.speed_plot import latency_plot
from vidtldr.bench.subject import Subject
from vidtldr.cli.bench_output import hand_over, missing_extras, print_not_measured
from vidtldr.cli.bench_subject import load_subject
from vidtldr.cli.progress import phases, status
from vidtldr.cli.result_options import ResultOptions
from vidtldr.cli.speed_options import SpeedOptions
from vidtldr.cli.speed_pages import latency_page
from vidtldr.cli.speed_plan import SpeedPlan, plan_speed, prepare
from vidtldr.cli.speed_tables import print_latency, print_scaling
from vidtldr.hosts.config import MergeConfig
from vidtldr.hosts.registry import find_host

__all__ = ["run_latency_job"]

OnStep = Callable[[str, int, int], None]
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
        Whether everything that was asked for is there.

    Raises:
        ValueError, OSError, NotImplementedError, ImportError: With what is wrong and what to do.
    """
    missing = missing_extras(wanted)
    device = prepare(speed)
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
    num_steps = len(plan.peers) * (rounds + 2)
    return measure_setting(
        subject.model,
        subject.pixel_values(setting.batch),
        setting,
        plan.peers,
        num_rounds=rounds,
        on_step=partial(_step, on_step, setting.headline, itertools.count(1), num_steps),
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
    step = partial(_step, on_step, f"attention, {dtype}", itertools.count(1), len(scaling))
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


def _step(on_step: OnStep, what: str, done: Iterator[int], num_steps: int) -> None:
    on_step(what, next(done), num_steps)


def _ceilings(
    speed: SpeedOptions, device: torch.device, failed: NotMeasured
) -> dict[str, Ceilings]:
    found: dict[str, Ceilings] = {}
    with status("measuring what the device can do"):
        for dtype in speed.parse_dtypes():
            with failed.caught(f"what the device can do in {dtype}"):
                found[dtype] = measure_ceilings(device, getattr(torch, dtype))
    return found
