"""A classifier compiled for so many clips at a time.

Letters: `B` clips, `T` frames of a clip, `S` side of a frame in pixels.
"""

import torch
from torch import Tensor, nn

from vidtldr.hosts.compiled_twin import CompiledTwin
from vidtldr.tasks.pretrained import Pretrained

__all__ = ["compile_classifier"]


def compile_classifier(pretrained: Pretrained, num_clips: int = 1) -> CompiledTwin[nn.Module]:
    """Compile the transformer of a classifier for clips (B, T, 3, S, S).

    Args:
        pretrained: The classifier, patched first if it is to merge; it stays uncompiled.
        num_clips: B, clips at once.

    Raises:
        ValueError: If videos of different sizes become clips of different sizes, or the family is
            not known.
        NotImplementedError, ImportError: As `CompiledTwin`.
    """
    size = pretrained.transform.fixed_size
    if size is None:
        raise ValueError(
            "compile must be used where all clips get one size, got a preprocessor config without "
            "crop_size. Add it, or leave out compile."
        )
    compiled = CompiledTwin(pretrained.model, (num_clips, pretrained.num_frames, 3, *size))
    parameter = next(pretrained.model.parameters())

    def run(clips: Tensor) -> None:
        # Moved before: a tensor that is made in inference mode would be compiled for by itself.
        x = clips.to(parameter.device, parameter.dtype)
        with torch.inference_mode():
            compiled.model_for(x)(pixel_values=x)

    compiled.warm_up(run)
    return compiled
