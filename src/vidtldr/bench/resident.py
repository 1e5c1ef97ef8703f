"""Peak memory of a forward above that of the loaded model, in a fresh process."""

import gc
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch

from vidtldr.bench.speed import Setting

__all__ = ["MemoryRow", "peak_above_load", "peak_in_fresh_process"]

NUM_FORWARDS = 3
_STATUS = Path("/proc/self/status")


@dataclass(frozen=True)
class MemoryRow:
    """Peak memory of one variant at one setting.

    Attributes:
        variant: Its name.
        setting: Batch, dtype and size of the input.
        peaks_bytes: Peak of every process.
        unmerged_bytes: Peaks of the unmerged model in the same rounds.
    """

    variant: str
    setting: Setting
    peaks_bytes: tuple[int, ...]
    unmerged_bytes: tuple[int, ...]

    @property
    def median_bytes(self) -> float:
        """The median peak."""
        return median(self.peaks_bytes)

    @property
    def spread_bytes(self) -> tuple[int, int]:
        """The lowest and the highest peak."""
        return min(self.peaks_bytes), max(self.peaks_bytes)

    @property
    def ratio(self) -> float | None:
        """The median relative to the unmerged model's; None if that is 0."""
        base = median(self.unmerged_bytes)
        return self.median_bytes / base if base else None

    @property
    def over_unmerged(self) -> dict[str, float] | None:
        """Median, lowest and highest per-round ratio; None if an unmerged peak is 0."""
        if not all(self.unmerged_bytes):
            return None
        pairs = zip(self.peaks_bytes, self.unmerged_bytes, strict=True)
        ratios = [own / unmerged for own, unmerged in pairs]
        return {"median": median(ratios), "lowest": min(ratios), "highest": max(ratios)}

    def to_dict(self) -> dict[str, Any]:
        """Return all but the unmerged model's own peaks, ready for JSON."""
        return {
            "peer": self.variant,
            "setting": asdict(self.setting),
            "peaks_bytes": self.peaks_bytes,
            "median_bytes": self.median_bytes,
            "spread_bytes": self.spread_bytes,
            "ratio": self.ratio,
            "over_unmerged": self.over_unmerged,
        }


def peak_above_load(run: Callable[[], object], device: torch.device) -> int:
    """Run three times and measure the peak above the process's memory before.

    On a CPU this is resident memory, including what allocators and kernels take besides the
    tensors, so it is meaningful only in a fresh process; on CUDA it is the memory the allocator
    handed out.

    Args:
        run: Calls the forward.
        device: Where it runs.

    Returns:
        Bytes.

    Raises:
        OSError: If the system does not report peak resident memory; only Linux does.
    """
    gc.collect()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        _run_some(run)
        torch.cuda.synchronize(device)
        allocated: int = torch.cuda.max_memory_allocated(device)
        return allocated - before
    try:
        Path("/proc/self/clear_refs").write_text("5")  # resets the peak to the current value
    except OSError as error:
        raise OSError(
            f"peaks of resident memory must be read from /proc, got {error}. Run this on Linux."
        ) from error
    before = _resident_bytes("VmRSS")
    _run_some(run)
    return _resident_bytes("VmHWM") - before


def peak_in_fresh_process(arguments: Sequence[str], given: str = "") -> int:
    """Run this interpreter with arguments and return the number it prints last.

    Args:
        arguments: After the interpreter's own name.
        given: What it reads from its standard input.

    Raises:
        ChildProcessError: If it is killed or fails; the message has its last line.
    """
    command = [sys.executable, *arguments]
    done = subprocess.run(command, input=given, capture_output=True, text=True, check=False)
    if done.returncode < 0:
        raise ChildProcessError(
            f"the process that was measured was killed by signal {-done.returncode}, perhaps for "
            "want of memory. Use a smaller batch."
        )
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise ChildProcessError(f"the process that was measured ended with an error: {reason}")
    return int(done.stdout.split()[-1])


def _run_some(run: Callable[[], object]) -> None:
    for _ in range(NUM_FORWARDS):
        run()


def _resident_bytes(field: str) -> int:
    for line in _STATUS.read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise OSError(f"/proc must tell {field}, got none. Run this on Linux.")
