"""Compare the answers of a video language model, unmerged and merged, and the way to them."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from vidtldr.hosts.registry import find_host
from vidtldr.measure.flops import count_flops
from vidtldr.measure.gain import Gain, gain_of_sides
from vidtldr.measure.memory import peak_tensor_bytes
from vidtldr.measure.timing import Timing, synchronize, time_in_turn
from vidtldr.tasks.video_language import FreeAnswer, VideoLanguageModel

__all__ = ["AnswerComparison", "AnswerSide", "compare_answers"]


@dataclass(frozen=True)
class AnswerSide:
    """One of the two models on one video.

    Attributes:
        answer: What it says.
        timing: Times to the first token.
        tower: The vision tower's part of them.
        flops: Floating-point operations to the first token; 1 MAC = 2 FLOPs.
        peak_bytes: Peak memory of tensors made on the way to the first token.
    """

    answer: FreeAnswer
    timing: Timing
    tower: Timing
    flops: int
    peak_bytes: int

    @property
    def language(self) -> Timing:
        """The rest of the time to the first token: projector and language model."""
        pairs = zip(self.timing.times_ms, self.tower.times_ms, strict=True)
        return Timing(tuple(whole - part for whole, part in pairs), self.timing.busy)

    @property
    def num_tokens(self) -> list[int]:
        """Tokens after each layer of the tower."""
        return self.answer.num_tokens


@dataclass(frozen=True)
class AnswerComparison:
    """Both models on one video."""

    unmerged: AnswerSide
    merged: AnswerSide

    @property
    def gain(self) -> Gain:
        """How merging changes the time to the first token."""
        return gain_of_sides(self.unmerged, self.merged)

    @property
    def agrees(self) -> bool:
        """Whether both give the same answer, word for word."""
        return self.unmerged.answer.text == self.merged.answer.text


def compare_answers(
    unmerged: VideoLanguageModel,
    merged: VideoLanguageModel,
    inputs: Mapping[str, Any],
    *,
    max_new_tokens: int,
    num_repeats: int,
    on_step: Callable[[], object] = lambda: None,
) -> AnswerComparison:
    """Answer with both models, then count, then time the way to the first token in turn.

    Args:
        unmerged: The unmodified model.
        merged: The same with its `merged_twin`.
        inputs: Result of `VideoLanguageModel.inputs`.
        max_new_tokens: Length limit of the answers.
        num_repeats: Timed runs of each, after one warm-up each.
        on_step: Called after each answer and each timed run.
    """
    both = {"unmerged": unmerged, "merged": merged}
    answers = {}
    for name, model in both.items():
        answers[name] = model.answer(inputs, max_new_tokens)
        on_step()
    device = next(unmerged.model.parameters()).device
    clocks = {name: _TowerClock(model, inputs) for name, model in both.items()}
    costs = {
        name: (count_flops(clock), peak_tensor_bytes(clock, device))
        for name, clock in clocks.items()
    }
    with ExitStack() as stack:
        for clock in clocks.values():
            stack.enter_context(clock.running())
        timings = time_in_turn(clocks, num_repeats=num_repeats, device=device, on_step=on_step)
    sides = {}
    for name, timing in timings.items():
        tower = Timing(tuple(clocks[name].times_ms[-num_repeats:]), timing.busy)
        sides[name] = AnswerSide(answers[name], timing, tower, *costs[name])
    return AnswerComparison(**sides)


class _TowerClock:
    """Runs a model to its first token, and notes how much of it its tower took.

    Attributes:
        times_ms: The tower's share of each run, in milliseconds.
    """

    def __init__(self, model: VideoLanguageModel, inputs: Mapping[str, Any]) -> None:
        self.model, self.inputs = model, inputs
        self.times_ms: list[float] = []
        self._root = find_host(model.model).root
        self._device = next(self._root.parameters()).device
        self._start = 0.0

    def __call__(self) -> None:
        """Run once."""
        self.times_ms.append(0.0)
        self.model.first_token(self.inputs)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Note times meanwhile."""
        handles = (
            self._root.register_forward_pre_hook(self._started),
            self._root.register_forward_hook(self._stopped),
        )
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _started(self, *_: object) -> None:
        synchronize(self._device)
        self._start = time.perf_counter()

    def _stopped(self, *_: object) -> None:
        synchronize(self._device)
        self.times_ms[-1] += (time.perf_counter() - self._start) * 1e3
