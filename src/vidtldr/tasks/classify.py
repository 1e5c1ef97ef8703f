"""Say what a video shows: probabilities of a classifier's labels.

Letters: `B` clips, `T` frames of a clip, `S` side of a frame in pixels, `K` classes.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from vidtldr.video.decode import Clip
from vidtldr.video.transform import VideoTransform

__all__ = ["LabelProbability", "classify_pixels", "parse_labels", "to_pixels", "top_labels"]


@dataclass(frozen=True)
class LabelProbability:
    """One answer.

    Attributes:
        label: The name of the class.
        probability: Its softmax probability, in [0, 1].
    """

    label: str
    probability: float


def to_pixels(clip: Clip, transform: VideoTransform, model: nn.Module) -> Tensor:
    """A clip as a batch of one, on the model's device and in its dtype.

    Returns:
        Pixel values, shape (1, T, 3, S, S).
    """
    parameter = next(model.parameters())
    return transform(clip.frames).unsqueeze(0).to(parameter.device, parameter.dtype)


@torch.inference_mode()
def classify_pixels(model: nn.Module, pixel_values: Tensor) -> Tensor:
    """Probabilities of the classes.

    Args:
        model: A video classifier of transformers.
        pixel_values: Shape (B, T, 3, S, S).

    Returns:
        Probabilities, shape (B, K), float32, on the CPU.

    Raises:
        FloatingPointError: If a logit is not finite.
    """
    logits = model(pixel_values=pixel_values).logits.float().cpu()
    if not logits.isfinite().all():
        raise FloatingPointError(
            "the model's logits must be finite, got NaN or inf. Use dtype float32."
        )
    return torch.as_tensor(logits.softmax(dim=-1))


def top_labels(probabilities: Tensor, labels: Sequence[str], k: int) -> list[LabelProbability]:
    """The `k` likeliest labels of one clip, likeliest first; all of them if there are fewer.

    Args:
        probabilities: Shape (K,).
        labels: The name of each class, K of them.
        k: How many.

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


def parse_labels(text: str) -> tuple[str, ...]:
    """Read labels from a file, if `text` is the path of one, or from a comma list.

    A file holds one label a line or a JSON list.

    Raises:
        ValueError: If a label is empty, or the file is no list of names.
    """
    labels = _read_label_file(text) if _is_file(text) else _split(text)
    if not labels or not all(labels):
        raise ValueError(
            f"labels must be names that are not empty, got {labels!r}. Remove empty entries."
        )
    return tuple(labels)


def _is_file(text: str) -> bool:
    try:
        return Path(text).is_file()
    except (OSError, ValueError):  # a long list is no name of a file, nor is one with a NUL
        return False


def _split(text: str) -> list[str]:
    return [label.strip() for label in text.split(",")]


def _read_label_file(path: str) -> list[str]:
    try:
        content = Path(path).read_text(encoding="utf-8-sig").strip()
        if not content.startswith(("[", "{")):
            return [line.strip() for line in content.splitlines() if line.strip()]
        labels = json.loads(content)
    except UnicodeDecodeError as error:
        raise ValueError(
            f"labels must be UTF-8 text, got other bytes in {path!r}. Save it so."
        ) from error
    except (json.JSONDecodeError, RecursionError) as error:
        line = getattr(error, "lineno", 1)
        raise ValueError(
            f"labels must be a JSON list or one label a line, got {path!r}, line {line}, that is "
            "no JSON. Correct the file."
        ) from error
    if not isinstance(labels, list) or not all(isinstance(label, str) for label in labels):
        raise ValueError(
            f"labels must be a JSON list of strings, got other values in {path!r}. Write "
            '["first", "second", ...].'
        )
    return [label.strip() for label in labels]
