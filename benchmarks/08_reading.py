"""Time for each reader to read 12 frames spread over a video, and whether they are right.

The number of every frame is written into its pixels. Each reader runs in its own process (some
cannot share one), once to warm up and then in turn with the others; readers not installed are named
in the result and skipped. All use one thread.

    python benchmarks/08_reading.py --output benchmarks/results/08_reading.json
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
from numpy.typing import NDArray

from vidtldr.measure.environment import environment

NUM_WANTED, NUM_BITS, SIDE_OF_BIT = 12, 16, 32
WIDTH, HEIGHT, RATE = 640, 360, 25
VIDEOS = {  # seconds, frames between keyframes
    "30 s, keyframes 10 s apart": (30, 250),
    "5 min, keyframes 10 s apart": (300, 250),
    "5 min, keyframes 2 s apart": (300, 50),
}
Frames = list[NDArray[np.uint8]]


def write_video(path: Path, num_frames: int, keyframes: int) -> None:
    """Write moving texture with a number in each frame; H.264 with B-frames."""
    rng = np.random.default_rng(0)
    texture = rng.integers(60, 180, (HEIGHT // 8, WIDTH // 4, 3), dtype=np.uint8)
    texture = texture.repeat(8, axis=0).repeat(8, axis=1)  # twice as wide as the picture
    with av.open(str(path), "w") as out:
        options = {"g": str(keyframes), "bf": "2", "sc_threshold": "0", "preset": "veryfast"}
        stream = out.add_stream("libx264", rate=RATE, options=options)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for number in range(num_frames):
            shift = 3 * number % WIDTH
            picture = texture[:, shift : shift + WIDTH].copy()
            for bit in range(NUM_BITS):
                left = bit * SIDE_OF_BIT
                picture[:SIDE_OF_BIT, left : left + SIDE_OF_BIT] = 255 * (number >> bit & 1)
            out.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        out.mux(stream.encode(None))


def number_of(frame: NDArray[np.uint8]) -> int:
    """Decode the number in a frame (H, W, 3)."""
    row = frame[SIDE_OF_BIT // 2, SIDE_OF_BIT // 2 :: SIDE_OF_BIT].mean(axis=-1)
    return sum(int(row[bit] > 127) << bit for bit in range(NUM_BITS))


def ours(path: str, wanted: list[int], seeks: bool) -> Frames:
    from vidtldr.video.decode import read_clip
    from vidtldr.video.sampling import Sampling

    clip = read_clip(path, Sampling(len(wanted)), seeks=seeks)
    assert list(clip.indices) == wanted
    return list(clip.frames.numpy())


def pyav_in_order(path: str, wanted: list[int]) -> Frames:
    found = []
    with av.open(path) as container:
        stream = container.streams.video[0]
        stream.thread_type = "NONE"
        for number, frame in enumerate(container.decode(stream)):
            if number in wanted:
                found.append(frame.to_ndarray(format="rgb24"))
    return found


def opencv_in_order(path: str, wanted: list[int]) -> Frames:
    import cv2

    cv2.setNumThreads(1)
    video, found = cv2.VideoCapture(path), []
    for number in range(wanted[-1] + 1):
        assert video.grab()
        if number in wanted:
            found.append(video.retrieve()[1][..., ::-1])
    return found


def opencv_seeking(path: str, wanted: list[int]) -> Frames:
    import cv2

    cv2.setNumThreads(1)
    video, found = cv2.VideoCapture(path), []
    for number in wanted:
        video.set(cv2.CAP_PROP_POS_FRAMES, number)
        found.append(video.read()[1][..., ::-1])
    return found


def decord_batch(path: str, wanted: list[int]) -> Frames:
    import decord

    return list(decord.VideoReader(path, num_threads=1).get_batch(wanted).asnumpy())


READERS: dict[str, tuple[str, Callable[[str, list[int]], Frames]]] = {
    "read_clip": ("vidtldr", lambda path, wanted: ours(path, wanted, seeks=False)),
    "read_clip, seeks": ("vidtldr", lambda path, wanted: ours(path, wanted, seeks=True)),
    "PyAV in order": ("av", pyav_in_order),
    "OpenCV in order": ("cv2", opencv_in_order),
    "OpenCV seeking": ("cv2", opencv_seeking),
    "decord": ("decord", decord_batch),
}


def wanted_of(path: str) -> list[int]:
    from vidtldr.video.sampling import Sampling

    with av.open(path) as container:
        return Sampling(NUM_WANTED).indices(container.streams.video[0].frames)


def time_once(reader: str, path: str) -> dict[str, Any]:
    """Read once to warm up and once timed, in this process."""
    wanted = wanted_of(path)
    read = READERS[reader][1]
    numbers = [number_of(frame) for frame in read(path, wanted)]
    start = time.perf_counter()
    read(path, wanted)
    seconds = time.perf_counter() - start
    num_right = sum(one == other for one, other in zip(numbers, wanted, strict=True))
    return {"seconds": seconds, "num_right": num_right}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--child", nargs=2, metavar=("READER", "VIDEO"), help=argparse.SUPPRESS)
    parser.add_argument("-o", "--output", type=Path)
    args = parser.parse_args()
    if args.child is not None:
        print(json.dumps(time_once(*args.child)))
        return
    here = {name: reader for name, reader in READERS.items() if find_spec(reader[0])}
    videos = {}
    with tempfile.TemporaryDirectory() as folder:
        for title, (seconds, keyframes) in VIDEOS.items():
            path = Path(folder) / f"{seconds}-{keyframes}.mp4"
            write_video(path, seconds * RATE, keyframes)
            rows = [{name: run_child(name, path) for name in here} for _ in range(args.rounds)]
            videos[title] = {name: summary([row[name] for row in rows]) for name in here}
            print(title, json.dumps(videos[title], indent=1))
    result = {
        "environment": environment(torch.device("cpu")),
        "frames": NUM_WANTED,
        "size": [WIDTH, HEIGHT],
        "not_installed": sorted(READERS.keys() - here.keys()),
        "videos": videos,
    }
    if args.output is not None:
        args.output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def run_child(reader: str, path: Path) -> dict[str, Any]:
    command = [sys.executable, __file__, "--child", reader, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    seconds = [row["seconds"] for row in rows]
    return {
        "median_seconds": statistics.median(seconds),
        "lowest_seconds": min(seconds),
        "highest_seconds": max(seconds),
        "num_right": min(row["num_right"] for row in rows),
    }


if __name__ == "__main__":
    main()
