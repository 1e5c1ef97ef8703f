"""A compiled copy of a model for clips of one shape, beside the model for all others.

Letters: `B` clips, `T` frames, `S` side of a frame.
"""

import time
from collections.abc import Callable
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

from vidtldr.hosts.compiling import clear_compiler_errors, compile_model
from vidtldr.hosts.twin import twin

__all__ = ["CompiledTwin"]

ModelT = TypeVar("ModelT", bound=nn.Module)


class CompiledTwin(Generic[ModelT]):
    """Two ways to run one model: compiled for clips of one shape, as it is for any other.

    Compiling takes as long as many forwards. So there is one compilation, and what has another
    shape, such as the last batch of many videos, is not worth a second one: it runs uncompiled,
    with the same answers to rounding. The copy shares its weights with the model.

    Args:
        model: Of a known family, in evaluation mode, patched first if it is to merge; it stays
            uncompiled.
        input_shape: Shape of the clips to compile for, (B, T, 3, S, S).

    Attributes:
        model: As it was given.
        input_shape: As it was given.
        compile_seconds: What `warm_up` took; 0 before.

    Raises:
        ValueError, NotImplementedError, ImportError: As `compile_model`.
    """

    def __init__(self, model: ModelT, input_shape: tuple[int, ...]) -> None:
        self.model = model
        self.input_shape = input_shape
        self.compile_seconds = 0.0
        self._compiled = compile_model(twin(model))

    def model_for(self, pixel_values: Tensor) -> ModelT:
        """The one to run these clips with."""
        return self._compiled if tuple(pixel_values.shape) == self.input_shape else self.model

    def warm_up(self, run: Callable[[Tensor], object]) -> None:
        """Compile now, before any video is read, so that what goes wrong is known then.

        Args:
            run: Runs clips the way that all clips will be run: under another autocast, without
                inference mode or in another dtype the model would be compiled a second time.

        Raises:
            ValueError: If the GPU has no room for so many clips.
            ImportError: If the C++ compiler that was found does not work.
        """
        clips = torch.zeros(self.input_shape)
        is_cuda = next(self.model.parameters()).device.type == "cuda"
        start = time.perf_counter()
        try:
            with clear_compiler_errors():
                for _ in range(3 if is_cuda else 1):  # compiled, tried, recorded as a CUDA graph
                    run(clips)
        except torch.cuda.OutOfMemoryError as error:
            raise ValueError(
                f"compile must have room for all clips of a batch, got {self.input_shape} and too "
                "little memory. Lower the batch size, or leave out compile."
            ) from error
        self.compile_seconds = time.perf_counter() - start
