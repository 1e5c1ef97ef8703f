"""The work of `vidtldr bench memory`."""

import itertools
import json
from collections.abc import Callable
from dataclasses import asdict
from statistics import median
from typing import Any

from rich.console import Console

from vidtldr.bench.environment import environment
from vidtldr.bench.resident import peak_in_fresh_process
from vidtldr.bench.speed import Setting
from vidtldr.bench.speed_peers import UNMERGED, choose_peers
from vidtldr.bench.speed_plot import memory_plot
from vidtldr.cli.bench_output import hand_over, missing_extras
from vidtldr.cli.bench_subject import SubjectName, load_subject
from vidtldr.cli.latency_run import config_for, subject_names
from vidtldr.cli.progress import phases
from vidtldr.cli.result_options import ResultOptions
from vidtldr.cli.speed_options import SpeedOptions
from vidtldr.cli.speed_pages import memory_page
from vidtldr.cli.speed_tables import print_memory
from vidtldr.hosts.config import MergeConfig
from vidtldr.tasks.pretrained import resolve_device, resolve_dtype

__all__ = ["run_memory_job"]

CHILD = ("-m", "vidtldr.cli.memory_child")


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
        ValueError, OSError, NotImplementedError, RuntimeError: With what is wrong and what to do.
    """
    missing = missing_extras(wanted)
    device = resolve_device(speed.device)
    rows: list[dict[str, Any]] = []
    with phases() as on_step:
        for name in subject_names(speed):
            subject = load_subject(name)  # here, too: mistakes are found before the first process
            merge = config_for(subject, config, choices)
            shape = (subject.num_frames, subject.image_size)
            del subject
            for batch, dtype in itertools.product(speed.counts("batches"), speed.parse_dtypes()):
                assert batch is not None
                resolve_dtype(dtype, device)
                setting = Setting(batch, dtype, *shape)
                rows += _rows_of(name, merge, setting, speed, rounds, on_step)
    report = {"environment": environment(device), "model": speed.model, "rows": rows}
    if not wanted.as_json:
        print_memory(Console(highlight=False), rows)
    hand_over(report, wanted, missing, memory_plot(rows), memory_page(report, rows))
    return not missing


def _rows_of(
    name: SubjectName,
    merge: MergeConfig,
    setting: Setting,
    speed: SpeedOptions,
    rounds: int,
    on_step: Callable[[str, int, int], None],
) -> list[dict[str, Any]]:
    peers = choose_peers(merge, speed.parse_peers(), with_compiled=speed.compiled)
    what = f"batch {setting.batch}, {setting.dtype}"
    peaks: dict[str, list[int]] = {peer.name: [] for peer in peers}
    turns = itertools.product(range(rounds), peers)
    for step, (_, peer) in enumerate(turns, start=1):
        order = {
            "subject": asdict(name),
            "merge": merge.to_dict(),
            "peer": peer.name,
            "batch": setting.batch,
            "dtype": setting.dtype,
            "num_threads": speed.threads,
        }
        peaks[peer.name].append(peak_in_fresh_process(CHILD, json.dumps(order)))
        on_step(what, step, rounds * len(peers))
    base = median(peaks[UNMERGED])
    return [
        {
            "peer": peer,
            "setting": asdict(setting),
            "peaks_bytes": found,
            "median_bytes": median(found),
            "spread_bytes": [min(found), max(found)],
            "ratio": median(found) / base if base else None,
        }
        for peer, found in peaks.items()
    ]
