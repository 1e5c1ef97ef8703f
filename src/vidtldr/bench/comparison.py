"""One clip unmerged and merged, side by side: answers, work, time and memory."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from vidtldr.bench.flops import count_flops
from vidtldr.bench.memory import peak_tensor_bytes
from vidtldr.hosts.patching import trace
from vidtldr.hosts.timing import Timing, time_in_turn
from vidtldr.hosts.twin import merged_twin
from vidtldr.tasks.classify import classify_pixels

__all__ = ["Comparison", "Side", "compare_on_clip", "merged_twin"]


@dataclass(frozen=True)
class Side:
    """One of the two models on one clip.

    Attributes:
        probabilities: Of the classes, shape (K,).
        num_tokens: Tokens after each layer.
        flops: Floating-point operations of the forward; 1 MAC = 2 FLOPs.
        peak_bytes: Peak of the memory of tensors made on the way.
        timing: Its wall-clock times.
    """

    probabilities: Tensor
    num_tokens: list[int]
    flops: int
    peak_bytes: int
    timing: Timing


@dataclass(frozen=True)
class Comparison:
    """Both sides on one clip."""

    unmerged: Side
    merged: Side

    @property
    def speedup(self) -> float:
        """Median time unmerged over median time merged."""
        return self.unmerged.timing.median_ms / self.merged.timing.median_ms

    @property
    def agrees(self) -> bool:
        """Whether both put the same label first."""
        return bool(self.unmerged.probabilities.argmax() == self.merged.probabilities.argmax())

    @property
    def largest_change(self) -> float:
        """The largest difference of a label's probability."""
        return (self.unmerged.probabilities - self.merged.probabilities).abs().max().item()


def compare_on_clip(
    unmerged: nn.Module,
    merged: nn.Module,
    pixel_values: Tensor,
    *,
    num_repeats: int,
    on_step: Callable[[], object] = lambda: None,
) -> Comparison:
    """Run both models on a clip: answers first, then work and memory, then time in turn.

    Args:
        unmerged: The model as it is, on fused attention.
        merged: Its `merged_twin`.
        pixel_values: The clip, shape (1, T, 3, S, S).
        num_repeats: Timed forwards of each, after one of each to warm up.
        on_step: Called after every timed forward, to show progress.

    Returns:
        Both sides.

    Raises:
        FloatingPointError: If a logit is not finite.
    """
    models = {"unmerged": unmerged, "merged": merged}
    runs = {name: _forward(model, pixel_values) for name, model in models.items()}
    answers = {name: _answer(model, pixel_values) for name, model in models.items()}
    device = pixel_values.device
    costs = {name: (count_flops(run), peak_tensor_bytes(run, device)) for name, run in runs.items()}
    timings = time_in_turn(runs, num_repeats=num_repeats, device=device, on_step=on_step)
    sides = {name: Side(*answers[name], *costs[name], timings[name]) for name in models}
    return Comparison(**sides)


def _forward(model: nn.Module, pixel_values: Tensor) -> Callable[[], object]:
    def run() -> object:
        with torch.inference_mode():
            return model(pixel_values=pixel_values)

    return run


def _answer(model: nn.Module, pixel_values: Tensor) -> tuple[Tensor, list[int]]:
    with trace(model) as recorded:
        probabilities = classify_pixels(model, pixel_values)[0]
    return probabilities, recorded.num_tokens
