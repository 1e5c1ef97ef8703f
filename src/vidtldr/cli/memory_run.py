"""The work of `vidtldr bench memory`."""

import itertools
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Console

from vidtldr.bench.environment import environment
from vidtldr.bench.resident import MemoryRow, peak_in_fresh_process
from vidtldr.bench.speed import Setting
from vidtldr.bench.speed_peers import UNMERGED, choose_peers
from vidtldr.bench.speed_plot import memory_plot
from vidtldr.cli.bench_output import hand_over, missing_extras
from vidtldr.cli.bench_subject import load_subject
from vidtldr.cli.latency_run import config_for, prepare, schedule_of, subject_names
from vidtldr.cli.progress import phases
from vidtldr.cli.result_options import ResultOptions
from vidtldr.cli.speed_options import SpeedOptions
from vidtldr.cli.speed_pages import memory_page
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
    schedules: list[dict[str, Any]] = []
    orders: list[tuple[Setting, list[dict[str, Any]]]] = []
    for name in subject_names(speed):
        subject = load_subject(name)
        merge = config_for(subject, config, choices)
        schedules.append(schedule_of(subject, merge))
        peers = choose_peers(merge, speed.parse_peers(), with_compiled=speed.compiled)
        for peer in peers:
            peer.build(subject.model)  # mistakes are found here, before the first process
        for batch, dtype in itertools.product(speed.counts("batches"), speed.parse_dtypes()):
            assert batch is not None
            setting = Setting(batch, dtype, subject.num_frames, subject.image_size)
            order = {
                "subject": asdict(name),
                "merge": merge.to_dict(),
                "batch": batch,
                "dtype": dtype,
                "num_threads": speed.threads,
            }
            orders.append((setting, [order | {"peer": peer.name} for peer in peers]))
        del subject
    with phases() as on_step:
        rows = [row for order in orders for row in _rows_of(*order, rounds, on_step)]
    report = {
        "environment": environment(device),
        "model": speed.model,
        "schedules": schedules,
        "rows": [row.to_dict() for row in rows],
    }
    if not wanted.as_json:
        print_memory(Console(highlight=False), rows)
    hand_over(report, wanted, missing, memory_plot(rows), memory_page(report, rows))
    return not missing


def _rows_of(
    setting: Setting, orders: Sequence[dict[str, Any]], rounds: int, on_step: OnStep
) -> list[MemoryRow]:
    """Peaks of all peers at one setting, in turn; each has an order for `memory_child`."""
    peaks: dict[str, list[int]] = {order["peer"]: [] for order in orders}
    turns = itertools.product(range(rounds), orders)
    for step, (_, order) in enumerate(turns, start=1):
        peaks[order["peer"]].append(peak_in_fresh_process(CHILD, json.dumps(order)))
        on_step(f"batch {setting.batch}, {setting.dtype}", step, rounds * len(orders))
    base = tuple(peaks[UNMERGED])
    return [MemoryRow(peer, setting, tuple(found), base) for peer, found in peaks.items()]
