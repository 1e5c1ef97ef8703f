"""Run the stages in a process that may crash or hang, until all are done or time is up."""

import json
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gpu_stages.stage import Stage, read_report, write_report
from gpu_stages.worker import BROKEN_DEVICE

__all__ = ["drive"]

SECONDS_TO_CLOSE = 5  # left for the summary


def drive(command: Sequence[str], stages: Sequence[Stage], folder: Path, seconds: float) -> int:
    """Run the stages in worker processes, replacing any that breaks, and write the summary.

    Args:
        command: Command of a process that runs the stages that have no file yet; `--until` is
            added.
        stages: Stages, in order.
        folder: Folder of the files; created if missing.
        seconds: Time limit for everything.

    Returns:
        An exit code: 0 if every stage is done, else 1.
    """
    start = time.time()
    until = start + seconds - min(SECONDS_TO_CLOSE, seconds / 10)
    folder.mkdir(parents=True, exist_ok=True)
    while _waiting(stages, folder) and time.time() < until:
        _close(stages, folder, _run_process([*command, "--until", str(until)], until))
    for stage in _waiting(stages, folder):
        _say(stage, folder, "skipped", "the time was up before it began")
    return _sum_up(stages, folder, time.time() - start, seconds)


def _run_process(command: Sequence[str], until: float) -> int | None:
    """Run a process; return its exit code, or None if it had to be stopped."""
    process = subprocess.Popen(command)
    try:
        return process.wait(timeout=max(1, until - time.time()))
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return None


def _close(stages: Sequence[Stage], folder: Path, code: int | None) -> None:
    """Record why the process ended at the stage it was running or had not reached."""
    why = "the time was up" if code is None else f"its process ended with code {code}"
    open_ones = [stage for stage in stages if _status(stage, folder) == "running"]
    if not open_ones and code not in (None, BROKEN_DEVICE):
        open_ones = _waiting(stages, folder)[:1]  # or it would be restarted forever
    for stage in open_ones:
        _say(stage, folder, "ended", why)


def _waiting(stages: Sequence[Stage], folder: Path) -> list[Stage]:
    return [stage for stage in stages if _status(stage, folder) is None]


def _status(stage: Stage, folder: Path) -> str | None:
    return (read_report(folder, stage.name) or {}).get("status")


def _say(stage: Stage, folder: Path, status: str, reason: str) -> None:
    report = read_report(folder, stage.name) or {"stage": stage.name, "seconds": 0}
    write_report(folder, stage.name, report | {"status": status, "reason": reason})


def _sum_up(stages: Sequence[Stage], folder: Path, seconds: float, allowed: float) -> int:
    reports = [read_report(folder, stage.name) or {} for stage in stages]
    rows: list[dict[str, Any]] = [
        {key: report[key] for key in ("stage", "status", "seconds", "reason") if key in report}
        for report in reports
    ]
    summary = {"seconds": seconds, "allowed_seconds": allowed, "stages": rows}
    write_report(folder, "summary", summary)
    for row in rows:
        print(f"{row['stage']:36} {row['status']:8} {row['seconds']:6.1f} s", row.get("reason", ""))
    print(json.dumps({"done": sum(row["status"] == "done" for row in rows), "of": len(rows)}))
    return 0 if all(row["status"] == "done" for row in rows) else 1
