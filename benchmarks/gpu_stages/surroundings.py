"""The machine, its versions and the commit."""

import subprocess
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch

from gpu_stages.stage import Work
from vidtldr.measure.environment import environment

__all__ = ["describe_machine"]

QUESTIONS = "name,driver_version,memory.total,clocks.max.sm,power.limit"


def describe_machine(work: Work, commit: str | None) -> dict[str, Any]:
    """Return the environment from `vidtldr.bench`, and what else matters on a GPU."""
    found = environment(work.device)
    found["commit"] = found["commit"] or commit
    found["versions"] |= {"triton": _version_of("triton"), "numpy": _version_of("numpy")}
    found["versions"] |= {"cuda": torch.version.cuda, "cudnn": torch.backends.cudnn.version()}
    found["nvidia_smi"] = _nvidia_smi()
    found["is_smoke"] = work.sizes.is_smoke
    if work.device.type == "cuda":
        properties = torch.cuda.get_device_properties(work.device)
        found["gpu"] = {
            "capability": [properties.major, properties.minor],
            "memory_bytes": properties.total_memory,
            "multiprocessors": properties.multi_processor_count,
        }
    return found


def _nvidia_smi() -> dict[str, str] | None:
    command = ["nvidia-smi", f"--query-gpu={QUESTIONS}", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    answers = done.stdout.splitlines()[0].split(", ")
    return dict(zip(QUESTIONS.split(","), answers, strict=False))


def _version_of(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
