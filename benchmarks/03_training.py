"""What the bundled model learnt: `python benchmarks/03_training.py --log runs/shapes/log.jsonl`.

Evaluates the unmerged model on test clips whose captions all differ; separately on `unseen` pairs
of factors, and on the smaller set of fresh clips that a test repeats. Also summarises the training
from its log.
"""

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from vidtldr.bench.trained_shapes import load_shapes
from vidtldr.bundled import BUNDLED
from vidtldr.measure.environment import environment
from vidtldr.shapes.exam import (
    AnswerSheet,
    EncodedClips,
    distinct_clips,
    encode_clips,
    encode_with,
    fill_sheet,
    mark,
)
from vidtldr.shapes.factors import MOTIONS, SHAPES, Split
from vidtldr.shapes.language import LABELS, label_of
from vidtldr.shapes.model import ShapesUMT
from vidtldr.shapes.world import ShapesWorld

RESULT = Path(__file__).parent / "results" / "03_training.json"
FRESH_SEED = 2026  # of the clips that tests/shapes/test_bundled_accuracy.py repeats
NUM_FRESH = 200


def main() -> None:
    """Evaluate the model and write the file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weights", type=Path, default=BUNDLED / "model.safetensors")
    parser.add_argument("--log", type=Path, required=True, help="log.jsonl of the training")
    parser.add_argument("--clips", type=int, default=1000, help="test clips")
    parser.add_argument("--seed", type=int, default=1, help="of the test clips")
    parser.add_argument("-o", "--output", type=Path, default=RESULT)
    args = parser.parse_args()
    model = load_shapes(args.weights)
    result = {
        "environment": environment(torch.device("cpu")),
        "training": training_summary(args.log),
        "test": examine_split(model, args.seed, "test", args.clips),
        "unseen": examine_split(model, args.seed, "unseen", args.clips // 2),
        "fresh": examine_split(model, FRESH_SEED, "test", NUM_FRESH),
    }
    args.output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(f"wrote {args.output}")


def examine_split(model: ShapesUMT, seed: int, split: Split, num_clips: int) -> dict[str, Any]:
    """Evaluate search, labels and questions on one split; percent, with confusions."""
    world = ShapesWorld(seed, split)
    clips = encode_clips(encode_with(model), world, distinct_clips(world, num_clips))
    sheet = fill_sheet(model, model.answering(), clips)
    return {
        "seed": seed,
        "split": split,
        "num_clips": num_clips,
        **asdict(mark(sheet, clips)),
        "labels_confused": confusion(sheet, clips),
    }


def confusion(sheet: AnswerSheet, clips: EncodedClips) -> dict[str, dict[str, dict[str, int]]]:
    """Count how often each shape and each motion was labelled as each."""
    found: dict[str, dict[str, dict[str, int]]] = {"shape": {}, "motion": {}}
    for label, row in zip(sheet.labels, clips.rows, strict=True):
        given = divmod(LABELS.index(label), len(MOTIONS))
        true = divmod(label_of(row), len(MOTIONS))
        for kind, names, a, b in zip(found, (SHAPES, MOTIONS), true, given, strict=True):
            counts = found[kind].setdefault(names[a], {})
            counts[names[b]] = counts.get(names[b], 0) + 1
    return found


def training_summary(log: Path) -> list[dict[str, Any]]:
    """Return the last log line of every stage, and of every exam."""
    last: dict[str, dict[str, Any]] = {}
    for line in log.read_text(encoding="utf-8").splitlines():
        entry = json.loads(line)
        last[entry["stage"]] = entry
    return list(last.values())


if __name__ == "__main__":
    main()
