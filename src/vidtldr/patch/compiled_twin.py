"""A compiled copy of a model for clips of one shape, next to the model for all others.

Letters: `B` clips, `T` frames, `S` side of a frame.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn

from vidtldr.measure.timing import Timing, paired_ratios, time_in_turn
from vidtldr.patch.compiling import clear_compiler_errors, compile_model
from vidtldr.patch.twin import twin

__all__ = ["CompiledTimes", "CompiledTwin"]

NUM_ROUNDS = 3
ModelT = TypeVar("ModelT", bound=nn.Module)


@dataclass(frozen=True)
class CompiledTimes:
    """Times of the same clips, compiled and uncompiled in turn."""

    compiled: Timing
    uncompiled: Timing

    @property
    def pays(self) -> bool:
        """Whether the compiled model is faster in most rounds."""
        return paired_ratios(self.uncompiled, self.compiled)["median"] > 1


class CompiledTwin(Generic[ModelT]):
    """Two ways to run one model: compiled for clips of one shape, uncompiled for any other.

    Compiling takes as long as many forwards, so it is done once. Other shapes, such as the last
    batch of many videos, are not worth a second compilation: they run uncompiled, with the same
    answers up to rounding. So does everything if compiling does not pay, which `warm_up` measures.
    The copy shares its weights with the model.

    Args:
        model: Of a known family, in evaluation mode, patched first if it is to merge; it stays
            uncompiled.
        input_shape: Shape of the clips to compile for, (B, T, 3, S, S).

    Attributes:
        model: As it was given.
        input_shape: As it was given.
        compile_seconds: Time that `warm_up` took to compile; 0 before.
        times: Of both, on clips of the compiled shape, once `warm_up` has run.

    Raises:
        ValueError, NotImplementedError, ImportError: As `compile_model`.
    """

    def __init__(self, model: ModelT, input_shape: tuple[int, ...]) -> None:
        self.model = model
        self.input_shape = input_shape
        self.compile_seconds = 0.0
        self.times: CompiledTimes | None = None
        self._compiled = compile_model(twin(model))
        self._is_used = True

    @property
    def summary(self) -> str:
        """What was compiled, how long it took and what it gains, in one line."""
        shape = " x ".join(map(str, self.input_shape))
        took = f"compiled for {shape} in {self.compile_seconds:.1f} s"
        if self.times is None:
            return took
        sides = {"compiled": self.times.compiled, "uncompiled": self.times.uncompiled}
        num_clips = self.input_shape[0]
        each = [f"{name} {_ms(side.median_ms / num_clips)}" for name, side in sides.items()]
        words = f"{took}; {', '.join(each)} a clip"
        if not self.times.pays:
            words += ": compiling does not pay here, clips run uncompiled"
        busy = self.times.compiled.busy
        return f"{words}; {busy.warning}" if busy.is_busy else words

    def to_dict(self) -> dict[str, Any]:
        """Whether clips run compiled, and both times, ready for JSON; needs `warm_up`."""
        assert self.times is not None
        return {
            "is_used": self.times.pays,
            "compiled_ms": self.times.compiled.median_ms,
            "uncompiled_ms": self.times.uncompiled.median_ms,
            **self.times.compiled.busy.to_dict(),
        }

    def model_for(self, pixel_values: Tensor) -> ModelT:
        """Choose the model to run these clips with."""
        fits = tuple(pixel_values.shape) == self.input_shape
        return self._compiled if fits and self._is_used else self.model

    def warm_up(self, run: Callable[[Tensor], object]) -> None:
        """Compile before any video is read, so that errors show early.

        Then time both models in turn; clips run compiled only if that is faster.

        Args:
            run: Runs clips exactly as all later clips will be run: under another autocast, without
                inference mode or in another dtype the model would be recompiled.

        Raises:
            ValueError: If the GPU has no room for so many clips.
            ImportError: If the C++ compiler that was found does not work.
        """
        clips = torch.zeros(self.input_shape)
        device = next(self.model.parameters()).device
        start = time.perf_counter()
        try:
            with clear_compiler_errors():
                run(clips)
                if device.type == "cuda":  # once to warm up, once to record a CUDA graph
                    run(clips), run(clips)
        except torch.cuda.OutOfMemoryError as error:
            raise ValueError(
                f"`compile` must have room for all clips of a batch, got {self.input_shape} and "
                "too little memory. Lower the batch size, or leave out `compile`."
            ) from error
        self.compile_seconds = time.perf_counter() - start
        self.times = self._timed(lambda: run(clips), device)
        self._is_used = self.times.pays

    def _timed(self, run: Callable[[], object], device: torch.device) -> CompiledTimes:
        def run_as(is_compiled: bool) -> None:
            self._is_used = is_compiled
            run()

        runs = {"compiled": partial(run_as, True), "uncompiled": partial(run_as, False)}
        return CompiledTimes(**time_in_turn(runs, num_repeats=NUM_ROUNDS, device=device))


def _ms(time_ms: float) -> str:
    return f"{time_ms:.{0 if time_ms >= 100 else 1}f} ms"
