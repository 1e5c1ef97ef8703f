"""Draw the curves of a training run: `python recipes/plot_training.py runs/shapes/log.jsonl`.

Writes `training.png` beside the log.
"""

import json
import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt

LOSSES = {"masked": "#777777", "patches": "#e69f00", "contrast": "#0072b2",
          "prompts": "#009e73", "matching": "#d55e00", "answers": "#cc79a7"}  # fmt: skip
SCORES = {"text_to_video_r1": "#0072b2", "answering": "#cc79a7", "labels": "#009e73"}
STAGES = ("pretraining", "objects1", "objects4", "texts4", "texts8")


def main() -> None:
    """Read the log and draw losses above scores, over clips seen, stage after stage."""
    log = Path(sys.argv[1])
    lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    figure, (top, bottom) = plt.subplots(2, 1, sharex=True, figsize=(7, 6), layout="constrained")
    start = 0
    for stage in STAGES:
        steps = [line for line in lines if line["stage"] == stage]
        exams = [line for line in lines if line["stage"] == f"{stage} exam"]
        for name, colour in LOSSES.items():
            draw(top, steps, name, start, colour)
        for name, colour in SCORES.items():
            draw(bottom, exams, name, start, colour)
        end = start + max((line["step"] for line in steps), default=0)
        top.axvline(end, color="0.85", zorder=0)
        bottom.axvline(end, color="0.85", zorder=0)
        if stage == "pretraining":  # the others count their steps through
            start = end
    top.set_ylabel("loss")
    top.set_ylim(0, 6)
    bottom.set_ylabel("right on validation clips, %")
    bottom.set_xlabel(
        "step: masked pretraining | objects of 1, of 4 frames | with texts, 4, 8 frames"
    )
    for axes, names in ((top, LOSSES), (bottom, SCORES)):
        for name, colour in names.items():
            axes.plot([], [], color=colour, label=name.replace("_", " "))
        axes.legend(frameon=False, fontsize=8, loc="upper right" if axes is top else "upper left")
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(log.with_name("training.png"), dpi=150)


def draw(axes: plt.Axes, lines: list[dict], name: str, start: int, colour: str) -> None:
    """Draw one curve of one stage."""
    points = [(start + line["step"], line[name]) for line in lines if name in line]
    if points:
        axes.plot(*zip(*points, strict=True), color=colour, linewidth=1)


if __name__ == "__main__":
    main()
