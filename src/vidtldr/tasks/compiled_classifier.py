"""A classifier compiled for one clip at a time.

Letters: `T` frames of a clip, `S` side of a frame in pixels.
"""

import torch
from torch import Tensor, nn

from vidtldr.hosts.compiled_twin import CompiledTwin
from vidtldr.tasks.pretrained import Pretrained

__all__ = ["compile_classifier"]


def compile_classifier(pretrained: Pretrained) -> CompiledTwin[nn.Module]:
    """Compile the transformer of a classifier for one clip (1, T, 3, S, S).

    Args:
        pretrained: The classifier, patched first if it is to merge; it stays uncompiled.

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
    compiled = CompiledTwin(pretrained.model, (1, pretrained.num_frames, 3, *size))
    parameter = next(pretrained.model.parameters())

    @torch.inference_mode()
    def run(clips: Tensor) -> None:
        compiled.model_for(clips)(pixel_values=clips.to(parameter.device, parameter.dtype))

    compiled.warm_up(run)
    return compiled
