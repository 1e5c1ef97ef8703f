"""Where the resident memory of a forward in bfloat16 goes, merged and unmerged.

UMT-B at the schedule of its MSRVTT preset, three forwards, each side in its own process. Measured:
peak resident memory above the loaded model's, and peak tensor memory. Then, after all tensors are
freed, the growth of: the heap still in use, such as oneDNN's cache for every shape seen; free heap
not returned to the system; and pages of mapped files, such as torch's own code. Once with glibc's
default heap, and once with every allocation of 1 MiB or more in its own pages, which avoids
fragmentation. Linux with glibc only.

    python benchmarks/09_bfloat16_memory.py --output benchmarks/results/09_bfloat16_memory.json
"""

import argparse
import ctypes
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import torch

from vidtldr.bench.resident import peak_above_load
from vidtldr.bench.speed import forward_of
from vidtldr.bench.speed_variants import speed_variants
from vidtldr.bench.subject import build_subject
from vidtldr.config import MergeConfig
from vidtldr.measure.environment import environment
from vidtldr.measure.memory import peak_tensor_bytes

CPU, NUM_THREADS, NUM_PROCESSES = torch.device("cpu"), 2, 3
HEAPS = {"default": {}, "no holes": {"MALLOC_MMAP_THRESHOLD_": str(2**20)}}
SIDES, BATCHES = ("unmerged", "merged"), (1, 4)
HEAP_FIELDS = (
    *("arena", "ordblks", "smblks", "hblks", "hblkhd"),
    *("usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"),
)
MAPPING = re.compile(r"[0-9a-f]+-[0-9a-f]+ \S+ \S+ \S+ (\d+)")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, required=True, help="JSON file to write")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        side, batch = arguments.child
        print(json.dumps(measured(side, int(batch))))
        return
    rows = [row_of(heap, batch) for heap in HEAPS for batch in BATCHES]
    torch.set_num_threads(NUM_THREADS)
    report = {"environment": environment(CPU), "num_processes": NUM_PROCESSES, "rows": rows}
    arguments.output.write_text(json.dumps(report, indent=1) + "\n")


def row_of(heap: str, batch: int) -> dict[str, Any]:
    """Return medians over processes, both sides in turn, and the ratio of their peaks."""
    found: dict[str, list[dict[str, int]]] = {side: [] for side in SIDES}
    for _ in range(NUM_PROCESSES):
        for side in SIDES:
            found[side].append(in_fresh_process(heap, side, batch))
    sides = {
        side: {part: median(each[part] for each in rows) for part in rows[0]}
        for side, rows in found.items()
    }
    ratios = [
        merged["peak_resident_bytes"] / unmerged["peak_resident_bytes"]
        for merged, unmerged in zip(found["merged"], found["unmerged"], strict=True)
    ]
    ratio = {"median": median(ratios), "lowest": min(ratios), "highest": max(ratios)}
    for side, parts in sides.items():
        said = ", ".join(f"{part} {size / 1e6:.1f}" for part, size in parts.items())
        print(f"{heap}, batch {batch}, {side}: {said} MB", flush=True)
    print(f"  merged / unmerged: {ratio['median']:.2f}", flush=True)
    return {"heap": heap, "batch": batch, "ratio": ratio, "sides": sides}


def in_fresh_process(heap: str, side: str, batch: int) -> dict[str, int]:
    command = [sys.executable, __file__, "--output", os.devnull]
    command += ["--child", side, str(batch)]
    done = subprocess.run(
        command, env=os.environ | HEAPS[heap], stdout=subprocess.PIPE, text=True, check=True
    )
    found: dict[str, int] = json.loads(done.stdout)
    return found


def measured(side: str, batch: int) -> dict[str, int]:
    """Measure in the fresh process."""
    torch.set_num_threads(NUM_THREADS)
    run = forward(side, batch)
    before = kept()
    peak = peak_above_load(run, CPU)
    grown = {part: size - before[part] for part, size in kept().items()}
    return {
        "peak_resident_bytes": peak,
        "peak_tensor_bytes": peak_tensor_bytes(run, CPU),
        **grown,
    }


def forward(side: str, batch: int) -> Callable[[], object]:
    subject = build_subject("umt-b16")
    x = subject.pixel_values(batch).bfloat16()
    variants = speed_variants(MergeConfig(r=subject.r, score="sharpness"))
    return forward_of(variants[side].build(subject.model.bfloat16()), x)


class HeapUse(ctypes.Structure):
    """What glibc's mallinfo2 returns."""

    _fields_ = tuple((name, ctypes.c_size_t) for name in HEAP_FIELDS)


def kept() -> dict[str, int]:
    """Return current bytes: heap in use, heap free, and resident pages of mapped files."""
    mallinfo = ctypes.CDLL(None).mallinfo2
    mallinfo.restype = HeapUse
    heap = mallinfo()
    return {
        "heap_in_use_bytes": heap.uordblks + heap.hblkhd,
        "heap_free_bytes": heap.fordblks,
        "mapped_file_bytes": mapped_file_bytes(),
    }


def mapped_file_bytes() -> int:
    size, is_file = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if match := MAPPING.match(line):
            is_file = match[1] != "0"
        elif is_file and line.startswith("Rss:"):
            size += int(line.split()[1]) * 1024
    return size


if __name__ == "__main__":
    main()
