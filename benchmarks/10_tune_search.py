"""The search of `vidtldr tune` against Optuna's samplers, at an equal number of forwards.

The bundled model on sets of 8 generated clips, all searched on. The structured search runs once per
set, for 0.6 of the FLOPs; every sampler then gets as many clip forwards as it used, with several
seeds. Samplers choose from the same options ("places"), or instead of a set of layers switch each
layer of the first half on or off ("layers"). They minimise either the drift at 0.6 alone or FLOPs
and drift together. The setting each search would choose is then run on unseen clips.

    pip install optuna
    python benchmarks/10_tune_search.py --output benchmarks/results/10_tune_search.json
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from statistics import fmean, median
from typing import Any

import optuna
import torch

from vidtldr.bundled import BUNDLED
from vidtldr.config import SALIENCY_WEIGHTINGS, SCORES, MergeConfig
from vidtldr.hosts.registry import find_host
from vidtldr.measure.environment import environment
from vidtldr.measure.result_store import ResultStore
from vidtldr.models.umt.checkpoint import load_umt
from vidtldr.shapes.export import clip_name, export_clips
from vidtldr.shapes.world import ShapesWorld
from vidtldr.tune.clips import TunedClip, read_clips
from vidtldr.tune.search import search
from vidtldr.tune.subject import Subject, umt_subject
from vidtldr.tune.target import Target
from vidtldr.tune.trials import Setting, Trials
from vidtldr.tune.ways import Way, flop_ratio_of, places

BUDGET, RANGE = 0.6, (0.45, 0.8)
FIRST_CLIP = 8192  # not the clips on which the search was developed
NUM_CLIPS, NUM_SETS, NUM_UNSEEN, NUM_SEEDS = 8, 3, 24, 3
METHODS = [*((score, "x") for score in SCORES), (None, "keys")]

Samples = list[tuple[float, float, Setting]]  # FLOP ratio, drift, setting


def structured(trials: Trials, unseen: Sequence[TunedClip]) -> Samples:
    """Return what `vidtldr tune` tries on all clips, without the markers that merge nothing."""
    found = search(trials, unseen[:1], Target("flop-ratio", BUDGET), num_rounds=1)
    return [
        (point.flop_ratio, point.drift, point.setting)
        for point in found.points
        if isinstance(getattr(point.setting, "config", None), MergeConfig)
    ]


def sampled(
    trials: Trials, num_forwards: int, sampler: Any, *, free_layers: bool, both: bool
) -> Samples:
    """Run trials of an Optuna sampler on all clips until the forwards are used up."""
    found: Samples = []

    def objective(trial: Any) -> Any:
        way = suggest_way(trial, trials.subject, free_layers)
        budget = trial.suggest_float("budget", *RANGE) if both else BUDGET
        try:
            setting = way.at(trials.subject.model, budget)
        except ValueError:  # these layers cannot save enough: costs no forward, but is penalised
            return (1.0, 1.0) if both else 1.0
        drift = trials.run(setting, len(trials.clips)).mean
        ratio = flop_ratio_of(trials.subject.model, setting)
        found.append((ratio, drift, setting))
        return (ratio, drift) if both else drift

    directions = ["minimize"] * (2 if both else 1)
    study = optuna.create_study(directions=directions, sampler=sampler)
    while trials.num_forwards + len(trials.clips) <= num_forwards and len(study.trials) < 2000:
        study.optimize(objective, n_trials=1)
    return found


def suggest_way(trial: Any, subject: Subject, free_layers: bool) -> Way:
    """Suggest the choices of `tune`, by name."""
    blocks = len(find_host(subject.model).blocks)
    score, metric = METHODS[trial.suggest_categorical("method", range(len(METHODS)))]
    if free_layers:
        switches = [
            trial.suggest_categorical(f"layer {n}", (False, True)) for n in range(blocks // 2)
        ]
        layers = tuple(n for n, is_on in enumerate(switches) if is_on) or (0,)
    else:
        layers = places(blocks)[trial.suggest_categorical("place", range(len(places(blocks))))]
    if score is not None and trial.suggest_categorical("with keys", (False, True)):
        metric = "keys"
    weighting = trial.suggest_categorical("weighting", SALIENCY_WEIGHTINGS)
    pooling = trial.suggest_categorical("pooling", ("tokens", "mass"))
    shares = trial.suggest_categorical("shares", ("even", "6:2:1"))
    if score is None:
        weighting = "masked-saliency"
    if not 1 < len(layers) <= 3:
        shares = "even"
    way = Way.of(layers, score=score, metric=metric, weighting=weighting, pooling=pooling)
    return replace(way, shares=shares)


def best_at(samples: Samples) -> tuple[float, float, Setting]:
    """Return the least drift at a cost of at most the budget plus a thousandth."""
    return min((s for s in samples if s[0] <= BUDGET + 1e-3), key=lambda s: s[1])


def hypervolume(samples: Samples) -> float:
    """Average over budgets 1 minus the least drift within the budget; higher is better."""
    low, high = RANGE
    budgets = torch.linspace(low, high, 141).tolist()
    least = [min((d for r, d, _ in samples if r <= b + 1e-3), default=1.0) for b in budgets]
    areas = [(a + b) / 2 for a, b in pairwise(1 - d for d in least)]
    return fmean(areas)


def summary(trials: Trials, unseen: Trials, samples: Samples, seconds: float) -> dict[str, Any]:
    """Summarise one search."""
    _, drift, setting = best_at(samples)
    return {
        "num_forwards": trials.num_forwards,
        "num_settings": len(samples),
        "seconds": seconds,
        "drift": drift,
        "drift_unseen": unseen.run(setting, len(unseen.clips)).mean,
        "hypervolume": hypervolume(samples),  # low if only one budget was searched
        "setting": setting.to_dict(),
    }


def samplers() -> dict[str, tuple[Callable[[int], Any], dict[str, bool]]]:
    """List each sampler's name, its constructor from a seed, and what it searches."""
    tpe, genetic = optuna.samplers.TPESampler, optuna.samplers.NSGAIISampler

    def made(kind: Any, **options: Any) -> Callable[[int], Any]:
        return lambda seed: kind(seed=seed, **options)

    return {
        "TPE, places": (made(tpe, multivariate=True), {"free_layers": False, "both": False}),
        "TPE, layers": (made(tpe, multivariate=True), {"free_layers": True, "both": False}),
        "TPE, places, both": (made(tpe, multivariate=True), {"free_layers": False, "both": True}),
        "NSGA-II, places, both": (
            made(genetic, population_size=16),
            {"free_layers": False, "both": True},
        ),
        "random, places": (
            made(optuna.samplers.RandomSampler),
            {"free_layers": False, "both": False},
        ),
    }


def measure(subject: Subject, clips: Sequence[TunedClip], unseen: Trials, store: Path) -> Any:
    """Run every search on one set of clips."""

    def fresh(name: str) -> Trials:
        return Trials(subject, clips, ResultStore(store / f"{name}.jsonl"))

    def timed(name: str, run: Callable[[Trials], Samples]) -> dict[str, Any]:
        trials, start = fresh(name), time.perf_counter()
        samples = run(trials)
        row = summary(trials, unseen, samples, time.perf_counter() - start)
        print(
            f"{name:26} {row['num_forwards']:5} forwards  drift {row['drift']:.5f}"
            f"  unseen {row['drift_unseen']:.5f}  hv {row['hypervolume']:.5f}"
            f"  {row['seconds']:.0f} s",
            flush=True,
        )
        return row

    rows = {
        "structured": [timed("structured", lambda trials: structured(trials, unseen.clips))],
    }
    forwards = rows["structured"][0]["num_forwards"]
    for name, (make, space) in samplers().items():
        rows[name] = [
            timed(
                f"{name} #{seed}",
                lambda trials, make=make, seed=seed, space=space: sampled(
                    trials, forwards, make(seed), **space
                ),
            )
            for seed in range(NUM_SEEDS)
        ]
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, required=True, help="JSON file to write")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    subject = umt_subject(load_umt(BUNDLED), 60.0)
    world = ShapesWorld(split="test", num_frames=subject.model.config.num_frames)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        num_clips = NUM_SETS * NUM_CLIPS + NUM_UNSEEN
        indices = export_clips(folder / "clips", world, num_clips, start=FIRST_CLIP)
        paths = [str(folder / "clips" / clip_name(world, index)) for index in indices]
        clips, failed = read_clips(subject.reader, paths)
        assert not failed
        unseen = Trials(subject, clips[-NUM_UNSEEN:], ResultStore(folder / "unseen.jsonl"))
        sets = []
        for number in range(NUM_SETS):
            own = clips[number * NUM_CLIPS : (number + 1) * NUM_CLIPS]
            sets.append(measure(subject, own, unseen, folder / f"set-{number}"))
    report = {
        "environment": environment(torch.device("cpu")) | {"optuna": optuna.__version__},
        "budget": BUDGET,
        "first_clip": FIRST_CLIP,
        "num_clips": NUM_CLIPS,
        "median": {
            name: {
                figure: median(row[figure] for rows in sets for row in rows[name])
                for figure in ("drift", "drift_unseen", "hypervolume", "num_settings", "seconds")
            }
            for name in sets[0]
        },
        "sets": sets,
    }
    print(json.dumps(report["median"], indent=1))
    arguments.output.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
