"""Draw the curves of a training run.

python recipes/shapes/plot_training.py runs/shapes/log.jsonl
"""

import argparse
import json
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

STAGES = ("pretraining", "objects1", "objects8", "texts4", "texts8")
Line = dict[str, Any]

# For each panel: axis label, highest value, and each curve's name in the log, legend and colour.
PANELS = (
    (
        "loss",
        6.0,
        {
            "masked": ("masked patches", "#777777"),
            "words": ("words of patches", "#e69f00"),
            "vectors": ("vectors of patches", "#56b4e9"),
            "contrast": ("contrast", "#0072b2"),
            "prompts": ("prompts", "#009e73"),
            "matching": ("matching", "#d55e00"),
            "answers": ("answers", "#cc79a7"),
        },
    ),
    (
        "right patches",
        1.0,
        {
            "patch_shape": ("shape", "#0072b2"),
            "patch_motion": ("motion", "#d55e00"),
            "patch_relation": ("relation", "#009e73"),
        },
    ),
    (
        "right on validation clips, %",
        100.0,
        {
            "text_to_video_r1": ("text to video R@1", "#0072b2"),
            "answering": ("answers", "#cc79a7"),
            "labels": ("labels", "#009e73"),
        },
    ),
)


def main() -> None:
    """Draw losses above scores, over the steps, stage after stage."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("log", type=Path, help="log.jsonl of a run")
    parser.add_argument("-o", "--output", type=Path, help="default training.png beside the log")
    args = parser.parse_args()
    lines = [json.loads(line) for line in args.log.read_text(encoding="utf-8").splitlines()]
    figure = Figure(figsize=(7, 8), layout="constrained")
    panels = figure.subplots(len(PANELS), 1, sharex=True)
    for panel, (label, highest, curves) in zip(panels, PANELS, strict=True):
        panel.set_ylabel(label)
        panel.set_ylim(0, highest)
        panel.spines[["top", "right"]].set_visible(False)
        for name, (words, colour) in curves.items():
            if any(name in line for line in lines):
                panel.plot([], [], color=colour, label=words)
                draw(panel, lines, name, colour)
        panel.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    for stage, start in starts(lines).items():
        for panel in panels:
            panel.axvline(start, color="0.85", zorder=0)
        panels[0].text(start, 6.1, f" {stage}", fontsize=8, color="0.35")
    panels[-1].set_xlabel("step")
    output = args.output or args.log.with_name("training.png")
    figure.savefig(output, dpi=130)
    print(f"wrote {output.name}")


def place_of(line: Line, num_before: int) -> int:
    """Steps before a log line; all stages after pretraining share one count."""
    return int(line["step"]) + (0 if line["stage"] == "pretraining" else num_before)


def num_pretraining(lines: list[Line]) -> int:
    """Number of masked pretraining steps."""
    return max((1 + line["step"] for line in lines if line["stage"] == "pretraining"), default=0)


def starts(lines: list[Line]) -> dict[str, int]:
    """The first step of each stage that was run."""
    before = num_pretraining(lines)
    found = {name: [place_of(at, before) for at in lines if at["stage"] == name] for name in STAGES}
    return {name: min(places) for name, places in found.items() if places}


def draw(panel: Axes, lines: list[Line], name: str, colour: str) -> None:
    """Draw one curve; where a resumed run logged a step twice, the last line counts."""
    before = num_pretraining(lines)
    points = {place_of(line, before): line[name] for line in lines if name in line}
    panel.plot(*zip(*sorted(points.items()), strict=True), color=colour, linewidth=1)


if __name__ == "__main__":
    main()
