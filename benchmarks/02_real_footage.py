"""Run `vidtldr classify --compare` on a folder of videos, with a random-weight VideoMAE-B.

It shows that real files of all kinds can be read and give finite outputs, merged and unmerged. The
weights are random: labels mean nothing, and their agreement says nothing about a trained model.

    python benchmarks/02_real_footage.py ../shared/videos/clips --output
    benchmarks/results/02_real_footage.json
"""

import argparse
import json
import shlex
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from transformers import VideoMAEConfig, VideoMAEForVideoClassification

SCHEDULE, REPEATS = "600,200,100", 3


def write_model(directory: Path) -> None:
    """Write a VideoMAE-B with seeded random weights whose attention is not flat."""
    torch.manual_seed(0)
    model = VideoMAEForVideoClassification(VideoMAEConfig(num_labels=400))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith(("query.weight", "key.weight")):
                parameter.mul_(4)
    model.save_pretrained(directory)
    processor = {"image_processor_type": "VideoMAEImageProcessor"}
    (directory / "preprocessor_config.json").write_text(json.dumps(processor))


def classify(videos: list[Path], directory: Path) -> tuple[list[dict[str, Any]], int]:
    options = ["--r", SCHEDULE, "--compare", "--rounds", str(REPEATS), "--json"]
    command = [
        sys.executable,
        "-m",
        "vidtldr",
        "classify",
        *map(str, videos),
        "--model",
        str(directory),
    ]
    done = subprocess.run([*command, *options], stdout=subprocess.PIPE, text=True, check=False)
    return [json.loads(line) for line in done.stdout.splitlines()], done.returncode


def short(row: dict[str, Any]) -> dict[str, Any]:
    """Drop the fields of a row that matter only to someone who knows the video."""
    if row["error"] is not None:
        return {"video": Path(row["video"]).name, "error": row["error"]}
    return {
        "video": Path(row["video"]).name,
        "num_frames_in_file": row["num_frames_in_file"],
        "notes": row["notes"],
        "num_tokens": row["num_tokens"],
        "same_top_label": row["same_top_label"],
        "largest_probability_change": row["largest_probability_change"],
        "unmerged_ms": row["unmerged"]["median_ms"],
        "merged_ms": row["merged"]["median_ms"],
        "speedup": row["speedup"],
    }


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    videos = sorted(path for path in arguments.folder.iterdir() if path.is_file())
    with tempfile.TemporaryDirectory() as directory:
        write_model(Path(directory))
        rows, exit_code = classify(videos, Path(directory))
    answered = [row for row in rows if row["error"] is None]
    report = {
        "command": shlex.join(["python", *sys.argv]),
        "exit_code": exit_code,
        "num_videos": len(videos),
        "num_answered": len(answered),
        "median_speedup": statistics.median(row["speedup"] for row in answered),
        "rows": [short(row) for row in rows],
    }
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(report, indent=1) + "\n")
    speedup = report["median_speedup"]
    print(f"{len(answered)} of {len(videos)} answered, median speed-up {speedup:.2f}x")
    return exit_code


if __name__ == "__main__":
    raise SystemExit(main())
