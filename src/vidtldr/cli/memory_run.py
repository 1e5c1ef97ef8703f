"""The work of `vidtldr bench memory`."""

import itertools
import json
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from rich.console import Console

from vidtldr.bench.environment import environment
from vidtldr.bench.not_measured import NotMeasured
from vidtldr.bench.resident import MemoryRow, peak_in_fresh_process
from vidtldr.bench.speed import Setting
from vidtldr.bench.speed_peers import UNMERGED
from vidtldr.bench.speed_plot import memory_plot
from vidtldr.cli.bench_output import hand_over, missing_extras, print_not_measured
from vidtldr.cli.progress import phases
from vidtldr.cli.result_options import ResultOptions
from vidtldr.cli.speed_options import SpeedOptions
from vidtldr.cli.speed_pages import memory_page
from vidtldr.cli.speed_plan import SpeedPlan, plan_speed, prepare
from vidtldr.cli.speed_tables import print_memory
from vidtldr.hosts.config import MergeConfig

__all__ = ["run_memory_job"]

# Without -P a file of the directory it is started in, such as a json.py, would be run.
CHILD = ("-P", "-m", "vidtldr.cli.memory_child")
OnStep = Callable[[str, int, int], None]


def run_memory_job(
    speed: SpeedOptions,
    config: MergeConfig | None,
    choices: dict[str, Any],
    wanted: ResultOptions,
    *,
    rounds: int,
) -> bool:
    """Measure every peer in processes of its own, print, write and draw.

    Args:
        speed: As typed.
        config: What to merge; None for a schedule of the model's own.
        choices: Score and metric of the latter.
        wanted: What to write.
        rounds: Processes of each peer; the median counts.

    Returns:
        Whether everything that was asked for is there.

    Raises:
        ValueError, OSError, NotImplementedError, ImportError: With what is wrong and what to do.
    """
    missing = missing_extras(wanted)
    device = prepare(speed)
    plans = plan_speed(speed, config, choices)
    rows: list[MemoryRow] = []
    failed = NotMeasured(debug=speed.debug)
    with phases() as on_step:
        for plan in plans:
            for setting in plan.settings:
                rows += _rows_of(plan, setting, speed.threads, rounds, failed, on_step)
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


def _rows_of(
    plan: SpeedPlan,
    setting: Setting,
    num_threads: int | None,
    rounds: int,
    failed: NotMeasured,
    on_step: OnStep,
) -> list[MemoryRow]:
    """Peaks at one setting, in turn, of the peers whose processes end well.

    Each has an order for `memory_child`. Without the unmerged model there is none.
    """
    order = {
        "subject": asdict(plan.name),
        "merge": plan.merge.to_dict(),
        "batch": setting.batch,
        "dtype": setting.dtype,
        "num_threads": num_threads,
    }
    peaks: dict[str, list[int]] = {peer.name: [] for peer in plan.peers}
    num_steps = rounds * len(peaks)
    for step, (turn, name) in enumerate(itertools.product(range(rounds), list(peaks)), start=1):
        if len(peaks[name]) == turn:  # it has not failed
            with failed.caught(f"{setting.headline}, {name}"):
                peaks[name].append(peak_in_fresh_process(CHILD, json.dumps(order | {"peer": name})))
        if not peaks[UNMERGED]:
            return []
        on_step(setting.headline, step, num_steps)
    base = tuple(peaks[UNMERGED])
    whole = {peer: found for peer, found in peaks.items() if len(found) == len(base) == rounds}
    return [MemoryRow(peer, setting, tuple(found), base) for peer, found in whole.items()]
