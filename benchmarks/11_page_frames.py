"""Frame times of the report: every layer and frame in turn, one per screen refresh.

A page of 16 frames of 14 x 14 patches at 1440 pixels, in headless Chromium with software rendering,
so this is slower than on a laptop with a GPU. A layer and frame are built when first shown, and
cached after that.

    PYTHONPATH=tests python benchmarks/11_page_frames.py \
        --output benchmarks/results/11_page_frames.json
"""

import argparse
import itertools
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import torch
from support.browser import OpenReport, open_browser

from vidtldr.measure.environment import environment

ROOT = Path(__file__).resolve().parents[1]
WIDTH = 1440
SWEEP = """
const done = arguments[arguments.length - 1];
const [layer, frame] = ["layer", "frame"].map((name) => document.getElementById(name));
const choose = (input, value) => {
  input.value = value;
  input.dispatchEvent(new Event("input", { bubbles: true }));
};
const steps = [];
for (let l = 0; l <= Number(layer.max); l++)
  for (let f = 0; f <= Number(frame.max); f++) steps.push([l, f]);
const times = [];
const next = (time) => {
  times.push(time);
  const step = steps.shift();
  if (step === undefined) return done(times);
  choose(layer, step[0]);
  choose(frame, step[1]);
  requestAnimationFrame(next);
};
requestAnimationFrame(next);
"""


def write_page(folder: Path) -> Path:
    """Write a page of a small random-weight VideoMAE, merged in three layers."""
    subprocess.run([sys.executable, ROOT / "examples" / "01_demo.py", folder], check=True)
    page = folder / "report.html"
    show = [sys.executable, "-m", "vidtldr", "show", folder / "disc.mp4", "-o", page]
    model = folder / "untrained-videomae"
    subprocess.run([*show, "--model", model, "--r", "600,200,100", "--rounds", "1"], check=True)
    return page


def summed_up(times: list[float]) -> dict[str, Any]:
    """Summarise milliseconds between screen frames."""
    gaps = [later - sooner for sooner, later in itertools.pairwise(times)]
    return {
        "num_frames": len(gaps),
        "median_ms": median(gaps),
        "95_percent_ms": quantiles(gaps, n=20)[-1],
        "longest_ms": max(gaps),
        "shown_at_60_a_second": sum(gap < 1.5 * 1000 / 60 for gap in gaps) / len(gaps),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        page = write_page(Path(directory))
        with open_browser(Path(directory) / "profile") as driver:
            report = OpenReport(driver, page, WIDTH)
            report.settle()
            sweeps = [summed_up(driver.execute_async_script(SWEEP)) for _ in range(3)]
        result = {
            "environment": environment(torch.device("cpu")),
            "page_bytes": page.stat().st_size,
            "first": sweeps[0],
            "again": sweeps[1:],
        }
    print(json.dumps(result, indent=1))
    if arguments.output:
        arguments.output.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
