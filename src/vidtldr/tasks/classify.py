"""Classify a video: probabilities of a classifier's labels.

Letters: `B` clips, `T` frames of a clip, `S` side of a frame in pixels, `K` classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from vidtldr.tasks.labels import parse_labels
from vidtldr.video.decode import Clip
from vidtldr.video.transform import VideoTransform

__all__ = [
    "LabelProbability",
    "classify_pixels",
    "parse_labels",
    "probabilities_of",
    "to_pixels",
    "top_labels",
]


@dataclass(frozen=True)
class LabelProbability:
    """A label and its probability.

    Attributes:
        label: The name of the class.
        probability: Its probability, in [0, 1].
    """

    label: str
    probability: float


def to_pixels(clip: Clip, transform: VideoTransform, model: nn.Module) -> Tensor:
    """Turn a clip into a batch of one, on the model's device and in its dtype.

    Args:
        clip: As decoded, or read with the same transform.
        transform: The model's.
        model: Decides device and dtype; an exported one, without weights here, takes float32 on
            the CPU.

    Returns:
        Pixel values, shape (1, T, 3, S, S).
    """
    parameter = next(model.parameters(), torch.empty(0))
    x = clip.frames if clip.transform == transform else transform.resized(clip.frames)
    return transform.normalised(x).unsqueeze(0).to(parameter.device, parameter.dtype)


@torch.inference_mode()
def classify_pixels(model: nn.Module, pixel_values: Tensor) -> Tensor:
    """Compute the class probabilities of clips.

    Args:
        model: A classifier called on clips, as in `Pretrained`.
        pixel_values: Shape (B, T, 3, S, S).

    Returns:
        Probabilities, shape (B, K), float32, on the CPU.

    Raises:
        FloatingPointError: If a logit is not finite.
    """
    return probabilities_of(model(pixel_values=pixel_values))


def probabilities_of(output: Any) -> Tensor:
    """Turn a classifier's output into probabilities: the softmax of its logits, or their sigmoid.

    Args:
        output: Of transformers, or a `ClassLogits`.

    Returns:
        Shape (B, K), float32, on the CPU.

    Raises:
        FloatingPointError: If a logit is not finite.
    """
    logits = output.logits.float().cpu()
    if not logits.isfinite().all():
        raise FloatingPointError("the model's logits must be finite, got NaN or inf. Use float32.")
    is_sigmoid = getattr(output, "is_sigmoid", False)
    return torch.as_tensor(logits.sigmoid() if is_sigmoid else logits.softmax(dim=-1))


def top_labels(probabilities: Tensor, labels: Sequence[str], k: int) -> list[LabelProbability]:
    """Return the `k` likeliest labels of one clip, likeliest first; all if there are fewer.

    Args:
        probabilities: Shape (K,).
        labels: The name of each class, K of them.
        k: Number of labels to return.

    Raises:
        ValueError: If `k` is not positive.
    """
    if k < 1:
        raise ValueError(f"top must be at least 1, got {k}. Ask for one label or more.")
    best = probabilities.topk(min(k, len(labels)))
    return [
        LabelProbability(labels[index], probability)
        for probability, index in zip(best.values.tolist(), best.indices.tolist(), strict=True)
    ]
