"""The cost of `vidtldr show` relative to the forward that it shows.

A random-weight UMT-B on a clip of 12 frames of 224, two threads, batch 1: the forward unmerged and
merged, building a page and a contact sheet from the trace, and a video of the same frames with the
groups overlaid, in turn in one run after a warm-up.

    python benchmarks/05_show_cost.py --output benchmarks/results/05_show_cost.json
"""

import argparse
import json
import platform
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import av
import torch
from torch import Tensor, nn

from vidtldr.config import MergeConfig
from vidtldr.measure.timing import time_in_turn
from vidtldr.models.umt import build_vision_encoder
from vidtldr.patch.twin import merged_twin
from vidtldr.video.transform import Region
from vidtldr.visualize.contact_sheet import draw_sheet, feature_rows, layer_rows
from vidtldr.visualize.feature_colours import cosine_kept, features_to_rgb
from vidtldr.visualize.observe import Observation, observe
from vidtldr.visualize.overlay_video import clip_painter, write_overlay_video
from vidtldr.visualize.report import write_report
from vidtldr.visualize.report_facts import Answer, Report, Side
from vidtldr.visualize.tiles import make_tiles

NUM_THREADS, NUM_FRAMES, SIDE, R = 2, 12, 224, (600, 200, 100)
CPU = torch.device("cpu")
LONGEST_TILE = 288


def forward(model: nn.Module, pixel_values: Tensor) -> Any:
    return model(pixel_values)


def make_frames() -> Tensor:
    """Make a drifting picture with as much detail as a photograph; uint8 (T, H, W, 3)."""
    large = torch.rand(1, 3, 12, 12)
    smooth = nn.functional.interpolate(large, (SIDE, SIDE + 4 * NUM_FRAMES), mode="bicubic")[0]
    noisy = smooth + 0.06 * torch.randn_like(smooth)
    picture = (noisy.clamp(0, 1) * 255).to(torch.uint8).permute(1, 2, 0)
    shifts = range(0, 4 * NUM_FRAMES, 4)
    return torch.stack([picture[:, shift : shift + SIDE] for shift in shifts])


def write_clip(path: Path, frames: Tensor) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=NUM_FRAMES)
        stream.width, stream.height, stream.pix_fmt = SIDE, SIDE, "yuv420p"
        for frame in frames.numpy():
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())


def side_of(name: str, seen: Observation) -> Side:
    tokens = seen.num_tokens
    answers = [Answer("a label", "50.0%")]
    return Side(name, "", answers, tokens, sum(tokens), tokens, [1.0, 2.0, 3.0], seen.layers)


def make_report(frames: Tensor, seen: dict[str, Observation]) -> Report:
    """Do all that `vidtldr show` does between its forwards and writing."""
    features = [seen[name].features for name in ("unmerged", "merged")]
    colours = features_to_rgb(*features)
    return Report(
        video="clip.mp4",
        asked="Likeliest of 1 label",
        facts=[("Model", "UMT-B, random weights")],
        notes=[],
        unmerged=side_of("Unmerged", seen["unmerged"]),
        merged=side_of("vid-TLDR", seen["merged"]),
        rival=side_of("ToMe", seen["rival"]),
        grid=seen["merged"].grid,
        tiles=make_tiles(frames, Region(0, 0, SIDE, SIDE), LONGEST_TILE),
        times_seconds=[index / NUM_FRAMES for index in range(NUM_FRAMES)],
        features=(colours[0], colours[1]),
        cosine_kept=cosine_kept(*features),
        shown_layer=len(R) - 1,
    )


def make_runs(directory: Path) -> dict[str, Callable[[], object]]:
    torch.manual_seed(0)
    model = build_vision_encoder("b16")
    configs = {
        "merged": MergeConfig(r=R, score="sharpness"),
        "rival": MergeConfig(r=R, score=None, metric="keys"),
    }
    models = {
        "unmerged": model,
        **{name: merged_twin(model, config) for name, config in configs.items()},
    }
    frames = make_frames()
    clip = directory / "clip.mp4"
    write_clip(clip, frames)
    pixel_values = (frames.permute(0, 3, 1, 2)[None].float() / 255 - 0.45) / 0.225
    seen = {name: observe(each, pixel_values, forward) for name, each in models.items()}

    def run_model(name: str) -> Callable[[], object]:
        def run() -> object:
            with torch.inference_mode():
                return models[name](pixel_values)

        return run

    def write_page() -> None:
        write_report(directory / "page.html", make_report(frames, seen))

    def write_sheets() -> None:
        report = make_report(frames, seen)
        layer = report.merged.layers[-1]
        for rows in (
            layer_rows(report.tiles, layer, report.grid),
            feature_rows(report.tiles, *report.features, report.grid),
        ):
            sheet = draw_sheet("clip.mp4", rows, report.times_seconds)
            sheet.save(directory / "sheet.png", compress_level=4)

    def write_video() -> None:
        layer, grid = seen["merged"].layers[-1], seen["merged"].grid
        painter = clip_painter(layer, grid, lambda height, width: Region(0, 0, height, width))
        write_overlay_video(directory / "out.mp4", str(clip), painter, range(NUM_FRAMES))

    return {
        "forward, unmerged": run_model("unmerged"),
        "forward, merged": run_model("merged"),
        "page": write_page,
        "contact sheet and features": write_sheets,
        "video of the same frames": write_video,
    }


def environment() -> dict[str, Any]:
    def output(*command: str) -> str:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return done.stdout.strip()

    changed = output("git", "status", "--porcelain", "src")
    cpu = next(
        (
            line.split(":", 1)[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.processor(),
    )
    names = ("vidtldr", "torch", "pillow", "jinja2", "av")
    return {
        "command": shlex.join(["python", *sys.argv]),
        "commit": output("git", "rev-parse", "HEAD") + (" with changes" if changed else ""),
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "cpu": cpu,
        "num_threads": NUM_THREADS,
        "versions": {name: version(name) for name in names},
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5, help="Timed rounds.")
    parser.add_argument("--output", type=Path, help="JSON file to write")
    arguments = parser.parse_args()
    torch.set_num_threads(NUM_THREADS)
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as directory:
        runs = make_runs(Path(directory))
        timings = time_in_turn(runs, num_repeats=arguments.rounds, device=CPU)
        page_bytes = (Path(directory) / "page.html").stat().st_size
    times = {name: list(timing.times_ms) for name, timing in timings.items()}
    forward_ms = times["forward, merged"]
    rows = {}
    for name, measured in times.items():
        ratios = [one / other for one, other in zip(measured, forward_ms, strict=True)]
        rows[name] = {
            "median_ms": median(measured),
            "times_ms": measured,
            "of_merged_forward": {
                "median": median(ratios), "lowest": min(ratios), "highest": max(ratios)
            },
        }  # fmt: skip
        share = rows[name]["of_merged_forward"]["median"]
        print(f"{name:28} {median(measured):8.0f} ms  {share:6.1%} of the merged forward")
    print(f"the page has {page_bytes / 1e6:.2f} MB; {time.perf_counter() - start:.0f} s in all")
    if arguments.output:
        report = {
            "environment": environment(),
            "model": "umt-b, random weights",
            "input_shape": [1, NUM_FRAMES, 3, SIDE, SIDE],
            "r": R,
            "dtype": "float32",
            "page_bytes": page_bytes,
            "results": rows,
        }
        arguments.output.parent.mkdir(parents=True, exist_ok=True)
        arguments.output.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
