"""Search speed of a large index, exact and approximate, and the recall of the latter.

Vectors are random: 1,000 clusters with noise, or the rows of a real index tiled with noise
(--tile). They are committed as by `vidtldr index add`, read into memory once, and searched.

    python benchmarks/07_search.py --num-rows 1000000 --output benchmarks/results/07_search.json
    python benchmarks/07_search.py --num-rows 1000000 --tile my.index --output ...

A row takes 4 bytes per channel on disk and in memory: 2 GB for a million rows of 512 channels. The
approximate index adds a byte per channel on disk.
"""

import argparse
import json
import os
import resource
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import vidtldr
from vidtldr.store.ann import build_ann
from vidtldr.store.exact_search import ExactSearch
from vidtldr.store.index_writer import IndexWriter
from vidtldr.store.rows import ClipRow, FileState, VideoRows
from vidtldr.store.settings import IndexSettings
from vidtldr.store.video_index import VideoIndex

ROWS_A_COMMIT = 20_000
NOISE = 1.0


def noisy(
    centres: NDArray[np.float32], count: int, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Draw unit vectors around the centres, with as much noise as signal."""
    rows = centres[rng.integers(len(centres), size=count)]
    noise = rng.standard_normal(rows.shape, dtype=np.float32) * (NOISE / rows.shape[1] ** 0.5)
    rows = rows + noise
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def centres_of(arguments: argparse.Namespace, rng: np.random.Generator) -> NDArray[np.float32]:
    if arguments.tile is not None:
        index = VideoIndex(arguments.tile)
        rows = np.stack([vector for _, vector in ExactSearch(index).sample(index.num_rows)])
    else:
        rows = rng.standard_normal((1000, arguments.num_channels), dtype=np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def video(number: int, vector: NDArray[np.float32]) -> VideoRows:
    clip = ClipRow(0.0, 10.0, vector)
    return VideoRows(
        f"/v/{number:09d}.mp4", FileState(1, 1, "0" * 64), 320, 240, "h264", (), (clip,)
    )


def memory_gb() -> float:
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * resource.getpagesize() / 1e9


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--num-rows", type=int, default=1_000_000)
    parser.add_argument("--num-channels", type=int, default=512)
    parser.add_argument("--num-queries", type=int, default=50)
    parser.add_argument("--tile", type=Path, help="an index whose rows are tiled with noise")
    parser.add_argument("--folder", type=Path, help="where the index is made; needs room")
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    rng = np.random.default_rng(0)
    centres = centres_of(arguments, rng)
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        directory = Path(folder) / "my.index"
        settings = IndexSettings("drawn", "none", centres.shape[1], {"weights": "drawn"})
        start = time.perf_counter()
        with IndexWriter(directory, settings) as writer:
            for first in range(0, arguments.num_rows, ROWS_A_COMMIT):
                count = min(ROWS_A_COMMIT, arguments.num_rows - first)
                vectors = noisy(centres, count, rng)
                writer.commit([video(first + n, vector) for n, vector in enumerate(vectors)])
            writer.compact()
            write_seconds = time.perf_counter() - start
            index = VideoIndex(directory)
            bytes_exact = index.num_bytes
            before = memory_gb()
            start = time.perf_counter()
            search = ExactSearch(index)
            load_seconds = time.perf_counter() - start
            queries = noisy(centres, arguments.num_queries, rng)
            times = []
            for query in queries:
                start = time.perf_counter()
                search.search(query, 10)
                times.append(1000 * (time.perf_counter() - start))
            loaded_gb = memory_gb() - before
            del search
            ann = build_ann(index, num_queries=arguments.num_queries)
        result = {
            "num_rows": arguments.num_rows,
            "num_channels": centres.shape[1],
            "vectors": "1,000 clusters with noise"
            if arguments.tile is None
            else "tiled with noise",
            "num_cpus": len(os.sched_getaffinity(0)),
            "write_seconds": write_seconds,
            "bytes": bytes_exact,
            "bytes_with_ann": VideoIndex(directory).num_bytes,
            "load_seconds": load_seconds,
            "loaded_gb": loaded_gb,
            "exact_ms": {
                "median": statistics.median(times),
                "largest": max(times),
                "num_queries": len(times),
            },
            "ann": {
                "recall_at_10": ann.recall,
                "median_ms": ann.search_ms,
                "num_probes": ann.num_probes,
                "build_seconds": ann.build_seconds,
            },
            "versions": {"vidtldr": vidtldr.__version__, "numpy": np.__version__},
        }
    text = json.dumps(result, indent=2)
    print(text)
    if arguments.output is not None:
        arguments.output.write_text(text + "\n")


if __name__ == "__main__":
    main()
