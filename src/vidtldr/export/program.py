"""Models as exporters take them: clips in, tensors out.

Letters: `B` clips, `T` frames, `S` side of a frame in pixels, `C` channels of the vector, `K`
classes.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vidtldr.models.umt.retrieval import UMTRetrieval
from vidtldr.tasks.embed import head_of
from vidtldr.tasks.exported.engines import engine_errors, quiet_engines
from vidtldr.tasks.video_encoder import VideoEncoder, mean_of_frames

__all__ = ["ClipOutputs", "clip_outputs", "export_program"]


class ClipOutputs(nn.Module):
    """A model whose outputs are tensors alone; the last is one vector a clip.

    Args:
        model: As in `Pretrained`, or a `UMTRetrieval`; merges if it is patched.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model


class _Classes(ClipOutputs):
    """Logits (B, K), and the mean input of the last layer (B, C)."""

    def forward(self, pixel_values: Tensor) -> tuple[Tensor, Tensor]:
        seen: list[Tensor] = []

        def keep(_module: nn.Module, args: tuple[Any, ...]) -> None:
            seen.append(args[0])

        handle = head_of(self.model).register_forward_pre_hook(keep)
        try:
            logits = self.model(pixel_values=pixel_values).logits
        finally:
            handle.remove()
        return logits, mean_of_frames(seen[0], pixel_values.shape[0])


class _Vectors(ClipOutputs):
    """Vectors (B, C) of an encoder, not normalised."""

    def forward(self, pixel_values: Tensor) -> tuple[Tensor]:
        return (self.model(pixel_values),)


class _UnitVectors(ClipOutputs):
    """Unit vectors (B, C) of a dual encoder."""

    def forward(self, pixel_values: Tensor) -> tuple[Tensor]:
        return (F.normalize(self.model(pixel_values), dim=-1),)


class _UMTVectors(ClipOutputs):
    """Unit vectors (B, C) of UMT."""

    def forward(self, pixel_values: Tensor) -> tuple[Tensor]:
        model: Any = self.model
        return (model.embed_video(model.encode_video(pixel_values)),)


def clip_outputs(model: nn.Module) -> ClipOutputs:
    """Wrap a model for an exporter."""
    if isinstance(model, UMTRetrieval):
        return _UMTVectors(model)
    if not isinstance(model, VideoEncoder):
        return _Classes(model)
    return _UnitVectors(model) if model.kind.reads_texts else _Vectors(model)


_CANNOT = "`model` must be one that torch.export can take for any number of clips, got an error"


def export_program(
    outputs: ClipOutputs, clip_shape: tuple[int, int, int, int], dtype: torch.dtype
) -> torch.export.ExportedProgram:
    """Export a model for any number of clips.

    Args:
        outputs: Result of `clip_outputs`, in evaluation mode.
        clip_shape: (T, 3, S, S).
        dtype: Of the clips.

    Raises:
        ValueError: If `torch.export` cannot take the model; says what it says.
    """
    clips = torch.zeros(2, *clip_shape, dtype=dtype)
    shapes = {"pixel_values": {0: torch.export.Dim.DYNAMIC}}
    with torch.no_grad(), quiet_engines(), engine_errors(_CANNOT):
        return torch.export.export(outputs, (), {"pixel_values": clips}, dynamic_shapes=shapes)
