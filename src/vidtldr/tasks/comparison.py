"""Compare the unmerged and merged model on one clip: predictions, FLOPs, time and memory."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from vidtldr.measure.flops import count_flops
from vidtldr.measure.gain import Gain, gain_of_sides
from vidtldr.measure.memory import peak_tensor_bytes
from vidtldr.measure.timing import Timing, time_in_turn
from vidtldr.patch.patching import trace
from vidtldr.tasks.classify import classify_pixels

__all__ = ["Comparison", "Side", "compare_on_clip"]


@dataclass(frozen=True)
class Side:
    """One of the two models on one clip.

    Attributes:
        probabilities: Class probabilities, shape (K,).
        num_tokens: Tokens after each layer.
        flops: Floating-point operations of a forward pass; 1 MAC = 2 FLOPs.
        peak_bytes: Peak memory of tensors allocated during the forward pass.
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
    def gain(self) -> Gain:
        """How merging changes the latency of the clip, and why if it gains nothing."""
        return gain_of_sides(self.unmerged, self.merged)

    @property
    def agrees(self) -> bool:
        """Whether both predict the same label."""
        return bool(self.unmerged.probabilities.argmax() == self.merged.probabilities.argmax())

    @property
    def largest_change(self) -> float:
        """The largest change of any label's probability."""
        return (self.unmerged.probabilities - self.merged.probabilities).abs().max().item()


def compare_on_clip(
    unmerged: nn.Module,
    merged: nn.Module,
    pixel_values: Tensor,
    *,
    num_repeats: int,
    on_step: Callable[[], object] = lambda: None,
) -> Comparison:
    """Run both models on a clip: predictions, then FLOPs and memory, then interleaved timing.

    Args:
        unmerged: The unmodified model, with fused attention.
        merged: Its `merged_twin`.
        pixel_values: The clip, shape (1, T, 3, S, S).
        num_repeats: Timed forward passes of each, after one warm-up each.
        on_step: Called after every timed forward pass, to show progress.

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
