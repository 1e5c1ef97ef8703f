"""Peak of memory of a forward above a loaded model's, in a process that did nothing else before."""

import gc
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

__all__ = ["peak_above_load", "peak_in_fresh_process"]

NUM_FORWARDS = 3
_STATUS = Path("/proc/self/status")


def peak_above_load(run: Callable[[], object], device: torch.device) -> int:
    """Run three times and find the peak, less what the process had before.

    On a CPU that is resident memory, with what allocators and kernels take beside the tensors, so
    it means something only in a fresh process; on CUDA it is what the allocator gave out.

    Args:
        run: Calls the forward.
        device: Where it runs.

    Returns:
        Bytes.

    Raises:
        OSError: If the system does not tell the peak of resident memory, as only Linux does.
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
        Path("/proc/self/clear_refs").write_text("5")  # the mark of the highest is now's
    except OSError as error:
        raise OSError(
            f"peaks of resident memory must be read from /proc, got {error}. Run this on Linux."
        ) from error
    before = _resident_bytes("VmRSS")
    _run_some(run)
    return _resident_bytes("VmHWM") - before


def peak_in_fresh_process(arguments: Sequence[str], given: str = "") -> int:
    """Run this interpreter with arguments; what it prints last is the number.

    Args:
        arguments: After the interpreter's own name.
        given: What it reads from its standard input.

    Raises:
        RuntimeError: If it ends with an error; the message has its last line.
    """
    command = [sys.executable, *arguments]
    done = subprocess.run(command, input=given, capture_output=True, text=True, check=False)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["killed, perhaps for want of memory"])[-1]
        raise RuntimeError(f"the process that was measured ended with an error: {reason}")
    return int(done.stdout.split()[-1])


def _run_some(run: Callable[[], object]) -> None:
    for _ in range(NUM_FORWARDS):
        run()


def _resident_bytes(field: str) -> int:
    for line in _STATUS.read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise OSError(f"/proc must tell {field}, got none. Run this on Linux.")
