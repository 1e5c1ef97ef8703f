"""Throughput of `vidtldr index add`, against a plain loop and the limit set by its parts.

In one run, on generated clips: decoding alone (D clips per second, all cores), encoding alone (E),
a plain loop that decodes and encodes one clip after the other, and the pipeline, several times in
turn. With a GPU the ceiling is min(D, E); if both share the cores, 1 / (1/D + 1/E).

    python benchmarks/06_pipeline.py --num-clips 400 --output benchmarks/results/06_pipeline.json
    python benchmarks/06_pipeline.py --model umt-b --num-clips 32 --output ...

`--model umt-b` is UMT-B with random weights at the schedule of its MSRVTT preset: its speed is that
of trained weights. The benchmark also compares reading one long video whole and in segments.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import torch
from pipeline_models import load

import vidtldr
from vidtldr.pipeline.discovery import discover
from vidtldr.pipeline.local import index_videos
from vidtldr.pipeline.machine import visible_gpus
from vidtldr.pipeline.request import IndexRequest
from vidtldr.shapes.export import write_video
from vidtldr.shapes.world import ShapesWorld
from vidtldr.tasks.embed import Embedder
from vidtldr.tasks.video_file import VideoFile
from vidtldr.video.decode import read_clip


def write_clips(folder: Path, num_clips: int) -> list[str]:
    """Write generated clips as H.264 files."""
    folder.mkdir()
    world = ShapesWorld(0, "test")
    for start in range(0, num_clips, 16):
        indices = range(start, min(start + 16, num_clips))
        clips = world.clips(list(indices))
        for index, frames in zip(indices, clips.frames, strict=True):
            write_video(folder / f"{index:06d}.mp4", frames)
    return list(discover([str(folder)]).files)


def decode_only(paths: list[str], embedder: Embedder, num_threads: int) -> float:
    """Measure clips per second of reading alone, with files hashed as in the pipeline."""

    def read(path: str) -> None:
        file = VideoFile(path, embedder.reader)
        file.hash_content()
        for _ in file.clips():
            pass

    start = time.perf_counter()
    with ThreadPoolExecutor(num_threads) as pool:
        list(pool.map(read, paths))
    return len(paths) / (time.perf_counter() - start)


def encode_only(clips: torch.Tensor, num_clips: int, embedder: Embedder, batch_size: int) -> float:
    """Measure clips per second of encoding alone, from resized clips in memory."""
    batch = clips[torch.arange(batch_size) % len(clips)]
    start, done = time.perf_counter(), 0
    while done < num_clips:
        embedder.encode(embedder.reader.transform.normalised(batch.to(embedder.device)))
        done += batch_size
    return done / (time.perf_counter() - start)


def plain_loop(paths: list[str], embedder: Embedder) -> float:
    """Measure clips per second of decoding and encoding in turn, one by one."""
    start = time.perf_counter()
    for path in paths:
        embedder.encode(embedder.reader(path).values[None].to(embedder.device))
    return len(paths) / (time.perf_counter() - start)


def pipeline(paths: list[str], request: IndexRequest, folder: Path) -> float:
    """Measure clips per second of a run, excluding start-up."""
    with tempfile.TemporaryDirectory(dir=folder) as directory:
        report = index_videos(Path(directory) / "my.index", paths, request)
    assert report.num_indexed == len(paths), report
    return report.num_indexed / report.seconds


def reading_one_long_video(paths: list[str], embedder: Embedder) -> dict[str, Any]:
    """Measure seconds to read a long video whole, and in segments of 10 s."""
    if not paths:
        return {}
    [path] = paths
    start = time.perf_counter()
    clip = read_clip(path, embedder.reader.sampling)
    whole = time.perf_counter() - start
    start = time.perf_counter()
    num_segments = sum(1 for _ in VideoFile(path, embedder.reader, 10.0).clips())
    return {
        "video_seconds": clip.duration_seconds,
        "num_frames": clip.num_frames_in_file,
        "whole_seconds": whole,
        "segments_seconds": time.perf_counter() - start,
        "num_segments": num_segments,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", choices=["bundled", "umt-b"], default="bundled")
    parser.add_argument("--num-clips", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch", type=int, default=None)
    parser.add_argument("--workers", type=int, default=None)
    parser.add_argument("--videos", type=Path, help="index these instead of generated clips")
    parser.add_argument("--long", nargs="*", default=[], help="one long video, to time its reading")
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    batch_size = arguments.batch or (8 if device == "cpu" else 32)
    num_cores = len(os.sched_getaffinity(0))
    embedder = load(arguments.model, device)
    request = IndexRequest(
        partial(load, arguments.model, device),
        arguments.model,
        batch_size=batch_size,
        num_workers=arguments.workers,
    )
    rounds = []
    with tempfile.TemporaryDirectory() as directory:
        folder = Path(directory)
        if arguments.videos is not None:
            paths = list(discover([str(arguments.videos)]).files)[: arguments.num_clips]
        else:
            paths = write_clips(folder / "clips", arguments.num_clips)
        clips = torch.stack(
            [next(VideoFile(path, embedder.reader).clips()).x for path in paths[:8]]
        )
        encode_only(clips, batch_size, embedder, batch_size)  # warm-up
        for _ in range(arguments.rounds):
            rounds.append(
                {
                    "decode_only": decode_only(paths, embedder, num_cores),
                    "encode_only": encode_only(clips, len(paths), embedder, batch_size),
                    "plain_loop": plain_loop(paths, embedder),
                    "pipeline": pipeline(paths, request, folder),
                }
            )
        long = reading_one_long_video(arguments.long, embedder)
    rates = {name: statistics.median(each[name] for each in rounds) for name in rounds[0]}
    decode, encode = rates["decode_only"], rates["encode_only"]
    ceiling = min(decode, encode) if device == "cuda" else 1 / (1 / decode + 1 / encode)
    result = {
        "model": arguments.model,
        "device": torch.cuda.get_device_name() if device == "cuda" else f"{num_cores} CPU threads",
        "num_clips": len(paths),
        "batch_size": batch_size,
        "dtype": "float32",
        "clips_per_second": rates,
        "ceiling": ceiling,
        "share_of_ceiling": rates["pipeline"] / ceiling,
        "speedup_over_plain_loop": rates["pipeline"] / rates["plain_loop"],
        "rounds": rounds,
        "long_video": long,
        "num_gpus": sum(gpu is not None for gpu in visible_gpus()),
        "versions": {"vidtldr": vidtldr.__version__, "torch": torch.__version__},
    }
    text = json.dumps(result, indent=2)
    print(text)
    if arguments.output is not None:
        arguments.output.write_text(text + "\n")


if __name__ == "__main__":
    main()
