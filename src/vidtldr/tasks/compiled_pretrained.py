"""Compile a model of transformers for a fixed batch size.

Letters: `B` clips, `T` frames of a clip, `S` side of a frame in pixels.
"""

import torch
from torch import Tensor, nn

from vidtldr.patch.compiled_twin import CompiledTwin
from vidtldr.tasks.pretrained import Pretrained

__all__ = ["compile_pretrained"]


def compile_pretrained(pretrained: Pretrained, num_clips: int = 1) -> CompiledTwin[nn.Module]:
    """Compile the transformer of a model for clips (B, T, 3, S, S).

    Args:
        pretrained: The model, already patched if it is to merge; it stays uncompiled itself.
        num_clips: Batch size B.

    Raises:
        ValueError: If the size of a clip depends on the size of its video, or the model family is
            unknown.
        NotImplementedError, ImportError: As `CompiledTwin`.
    """
    size = pretrained.transform.fixed_size
    if size is None:
        raise ValueError(
            "`compile` must be used where all clips get one size, got a preprocessor config "
            "without crop_size. Add it, or leave out `compile`."
        )
    compiled = CompiledTwin(pretrained.model, (num_clips, pretrained.num_frames, 3, *size))
    parameter = next(pretrained.model.parameters())

    def run(clips: Tensor) -> None:
        # Moved first: a tensor created in inference mode would trigger another compilation.
        x = clips.to(parameter.device, parameter.dtype)
        with torch.inference_mode():
            compiled.model_for(x)(pixel_values=x)

    compiled.warm_up(run)
    return compiled
