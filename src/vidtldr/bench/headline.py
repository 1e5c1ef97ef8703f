"""Time a model of a published size unmerged and merged: the case merging is made for.

The bundled model is so small that a forward takes milliseconds, which are not worth saving.
"""

import time
from dataclasses import dataclass

from vidtldr.bench.speed import forward_of
from vidtldr.bench.subject import build_subject
from vidtldr.budget.counts import tokens_after_layers
from vidtldr.config import MergeConfig
from vidtldr.hosts.registry import find_host
from vidtldr.measure.flops import count_flops
from vidtldr.measure.gain import Gain, gain_of
from vidtldr.measure.timing import Timing, time_in_turn
from vidtldr.patch.twin import merged_twin
from vidtldr.steps import OnStep, steps_of

__all__ = ["Headline", "time_headline"]

NAME, TITLE = "videomae-b", "VideoMAE-B"
FEWEST_ROUNDS, MOST_ROUNDS, SECONDS = 3, 5, 20.0
PART = f"timing a model of {TITLE}'s size"


@dataclass(frozen=True)
class Headline:
    """A model, unmerged and merged. Random weights affect its answers, not its time.

    Attributes:
        title: The model whose size it has.
        r: Tokens that each layer removes.
        unmerged: Times of the unmerged forward of a clip.
        merged: Times of the merged forward, taken in turn.
        gain: The resulting gain.
    """

    title: str
    r: tuple[int, ...]
    unmerged: Timing
    merged: Timing
    gain: Gain


def time_headline(on_step: OnStep) -> Headline:
    """Time a random clip on a CPU, both sides in turn; about twenty seconds on two idle cores.

    Args:
        on_step: Called with the name of the part, its steps done and its total, to show progress.
    """
    subject = build_subject(NAME)
    config = MergeConfig(r=subject.r)
    clip = subject.pixel_values(1)
    models = {"unmerged": subject.model, "merged": merged_twin(subject.model, config)}
    runs = {name: forward_of(model, clip) for name, model in models.items()}
    on_step(PART, 0, len(runs) * MOST_ROUNDS)
    start = time.perf_counter()
    flops = {name: count_flops(run) for name, run in runs.items()}  # also warms up
    num_rounds = _rounds_for(time.perf_counter() - start)
    timings = time_in_turn(
        runs,
        num_repeats=num_rounds,
        num_warmups=0,
        device=clip.device,
        on_step=steps_of(on_step, PART, len(runs) * num_rounds),
    )
    host = find_host(subject.model)
    tokens = [tokens_after_layers(each, host)[-1] for each in (None, config)]
    gain = gain_of(
        timings["unmerged"],
        timings["merged"],
        flop_ratio=flops["merged"] / flops["unmerged"],
        num_tokens=(tokens[0], tokens[1]),
    )
    return Headline(TITLE, subject.r, timings["unmerged"], timings["merged"], gain)


def _rounds_for(seconds_each: float) -> int:
    """Return a number of rounds that takes an acceptable time."""
    return max(FEWEST_ROUNDS, min(MOST_ROUNDS, int(SECONDS / seconds_each)))
