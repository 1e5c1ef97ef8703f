"""Tune: choose a schedule for your own model and videos.

Tries every score in several layers on a few generated clips, times the best settings against the
unmerged model, prints the frontier of speed and drift, and writes the chosen schedule as JSON.
Drift is how far merging moves the model's answers: here 1 minus the cosine of the embeddings.
It is measured on half of the clips, which are held out from the search. No labels are needed.

    python examples/03_tune.py [FOLDER]

Writes FOLDER/merge_config.json, with the kind of model and what was measured; every command takes
it as `--schedule FOLDER`. FOLDER is demo/ by default.
Four clips keep the example short: use eight or more of your own.
"""

import sys
from pathlib import Path

import vidtldr
from vidtldr.bundled import BUNDLED
from vidtldr.measure.environment import environment
from vidtldr.measure.result_store import ResultStore
from vidtldr.models.umt import load_umt
from vidtldr.shapes.export import export_clips
from vidtldr.shapes.world import ShapesWorld
from vidtldr.tune.clips import read_clips
from vidtldr.tune.frontier import frontier
from vidtldr.tune.search import search
from vidtldr.tune.split import split_clips
from vidtldr.tune.subject import umt_subject
from vidtldr.tune.target import Target
from vidtldr.tune.trials import Trials

NUM_CLIPS = 4
TARGET = Target("flop-ratio", 0.6)  # or Target("drift", 0.02), or Target("speedup", 1.5)


def main(folder: Path) -> None:
    videos = folder / "tune-clips"
    if not videos.exists():
        export_clips(videos, ShapesWorld(split="validation"), NUM_CLIPS)

    model = load_umt(BUNDLED)
    subject = umt_subject(model, time_limit_seconds=60)
    paths = sorted(str(path) for path in videos.glob("*.mp4"))
    clips, failed = read_clips(subject.reader, paths)
    for video in failed:
        print(f"Skipped {video.path}: {video.error}")

    # Results of each trial are kept in a file: a second run resumes where the first one stopped.
    searched, held_out = split_clips(clips)
    trials = Trials(subject, searched, ResultStore(folder / "merge_config.trials.jsonl"))
    print(f"Trying settings on {len(searched)} of {len(clips)} clips ...", flush=True)
    result = search(trials, held_out, TARGET, num_rounds=5)

    print(f"The frontier of speed and drift on the {len(held_out)} others, fastest first:")
    tuned = [row for row in result.rows if row.config is not None]
    for row in frontier(tuned, lambda row: (-row.speedup, row.measured.mean)):
        drift = f"drift {row.measured.mean:.4f}"
        print(f"  {row.speedup:.2f}x  {drift}  {row.name}, r = {list(row.config.r)}")
    if result.busy.is_busy:
        print(f"  Note: {result.busy.warning}")

    best = result.chosen
    if best is None:
        raise SystemExit(f"No setting reaches {TARGET}; the nearest is {result.nearest.name}.")
    file = result.schedule(environment(trials.device)).save_pretrained(folder)
    print(f"Chosen for {TARGET}: {best.name}, r = {list(best.config.r)}, in {file}")

    # This is how to use it later.
    vidtldr.apply_patch(model, folder)  # also the id of a model on the hub that has such a file


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "demo"))
