"""Run stages one after the other in this process, each writing its own file."""

import gc
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from gpu_stages.sizes import FULL, SMOKE
from gpu_stages.stage import Stage, Work, report_path, write_report

__all__ = ["BROKEN_DEVICE", "run_stages"]

#: Exit code of a process whose GPU no longer answers.
BROKEN_DEVICE = 70


def run_stages(stages: Sequence[Stage], folder: Path, until: float, *, smoke: bool) -> int:
    """Run the stages that have no file yet.

    Args:
        stages: Stages, in order.
        folder: Folder of the files.
        until: When to end, seconds since the epoch.
        smoke: Whether to make a smoke run on a CPU.

    Returns:
        An exit code: 0, or `BROKEN_DEVICE` if the next stages need another process.
    """
    device = torch.device("cpu") if smoke else torch.device("cuda", torch.cuda.current_device())
    for stage in stages:
        if report_path(folder, stage.name).exists():
            continue
        left = until - time.time()
        if left < stage.needs_seconds:
            write_report(folder, stage.name, _skipped(stage, left))
            continue
        _run_one(stage, folder, until, device, smoke=smoke)
        if not _still_answers(device):
            return BROKEN_DEVICE
    return 0


def _run_one(
    stage: Stage, folder: Path, until: float, device: torch.device, *, smoke: bool
) -> None:
    start = time.time()

    def write(status: str, **found: Any) -> None:
        report = {"stage": stage.name, "status": status, "seconds": time.time() - start}
        write_report(folder, stage.name, report | found)

    kept: dict[str, Any] = {}

    def keep(result: dict[str, Any]) -> None:
        kept["result"] = result
        write("running", **kept)

    write("running")
    until = min(until, start + stage.limit_seconds)
    try:
        result = stage.run(Work(device, SMOKE if smoke else FULL, until, keep))
    except Exception:  # any error is the result of this stage; the next one still runs
        status = "failed"
        write(status, traceback=traceback.format_exc(), **kept)
    else:
        status = "done"
        write(status, result=result)
    print(f"{stage.name}: {status} after {time.time() - start:.1f} s", flush=True)


def _skipped(stage: Stage, left: float) -> dict[str, Any]:
    reason = f"it needs {stage.needs_seconds:.0f} s, and {max(left, 0):.0f} s were left"
    return {"stage": stage.name, "status": "skipped", "seconds": 0, "reason": reason}


def _still_answers(device: torch.device) -> bool:
    """Free a stage's memory; after an illegal access every GPU call fails."""
    gc.collect()
    if device.type != "cuda":
        return True
    try:
        torch.cuda.synchronize(device)
        torch.cuda.empty_cache()
    except RuntimeError:
        return False
    return True
