"""Where the resident memory of a forward in bfloat16 goes, merged and unmerged.

UMT-B at the schedule of its MSRVTT preset, each in a process of its own, three forwards: the peak
of resident memory above the loaded model's, the peak of the tensors alone, and how much of what has
grown is code that was generated for the shapes that came by, or pages of mapped files. Once with
glibc's heap as it is, and once with every allocation of 1 MiB or more in pages of its own, which
leaves no holes. Linux alone.

    python benchmarks/09_bfloat16_memory.py --output benchmarks/results/09_bfloat16_memory.json
"""

import argparse
import json
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import torch

from vidtldr.bench.environment import environment
from vidtldr.bench.memory import peak_tensor_bytes
from vidtldr.bench.resident import peak_above_load
from vidtldr.bench.speed import forward_of
from vidtldr.bench.speed_peers import speed_peers
from vidtldr.bench.subject import build_subject
from vidtldr.hosts.config import MergeConfig

CPU, NUM_THREADS, NUM_PROCESSES = torch.device("cpu"), 2, 3
HEAPS = {"default": {}, "no holes": {"MALLOC_MMAP_THRESHOLD_": str(2**20)}}
SIDES, BATCHES = ("unmerged", "merged"), (1, 4)
MAPPING = re.compile(r"[0-9a-f]+-[0-9a-f]+ (\S+) \S+ \S+ (\d+)")


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
    """Medians over processes, both sides in turn, and the ratio of their peaks."""
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
    """In the fresh process."""
    torch.set_num_threads(NUM_THREADS)
    run = forward(side, batch)
    before = resident()
    peak = peak_above_load(run, CPU)
    grown = resident()
    grown.subtract(before)
    return {
        "peak_resident_bytes": peak,
        "generated_code_bytes": grown["generated code"],
        "mapped_file_bytes": grown["mapped file"],
        "peak_tensor_bytes": peak_tensor_bytes(run, CPU),
    }


def forward(side: str, batch: int) -> Callable[[], object]:
    subject = build_subject("umt-b16")
    x = subject.pixel_values(batch).bfloat16()
    peers = speed_peers(MergeConfig(r=subject.r))
    return forward_of(peers[side].build(subject.model.bfloat16()), x)


def resident() -> Counter[str]:
    """Bytes by kind: what can be executed and is of no file, what is of a file, and the rest."""
    kinds: Counter[str] = Counter()
    kind = "rest"
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if match := MAPPING.match(line):
            permissions, inode = match.groups()
            made = "generated code" if "x" in permissions else "rest"
            kind = made if inode == "0" else "mapped file"
        elif line.startswith("Rss:"):
            kinds[kind] += int(line.split()[1]) * 1024
    return kinds


if __name__ == "__main__":
    main()
