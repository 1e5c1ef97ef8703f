"""Load a model of transformers together with its preprocessing and labels."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from vidtldr.ops.processor import bfloat16_is_native
from vidtldr.tasks.checkpoint import load_weights, read_config, reason_of
from vidtldr.tasks.clip_reader import no_note
from vidtldr.tasks.model_files import model_directory, model_source
from vidtldr.tasks.model_spec import canonical_dtype, validate_device
from vidtldr.tasks.video_encoder import (
    ENCODERS,
    ClipClassifier,
    FrameClassifier,
    VideoEncoder,
    drop_language_model,
)
from vidtldr.video.sampling import Sampling
from vidtldr.video.transform import VideoTransform

__all__ = [
    "DEFAULT_FRAMES",
    "DTYPES",
    "Pretrained",
    "load_pretrained",
    "resolve_device",
    "resolve_dtype",
]

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
DEFAULT_FRAMES = 8  # of a video, for image models


@dataclass(frozen=True)
class Pretrained:
    """A loaded classifier or encoder.

    Attributes:
        model: In evaluation mode, on its device, with fused attention. Takes clips as
            `pixel_values`, shape (B, T, 3, S, S); returns an object with `logits` if it is a
            classifier, vectors if it is a `VideoEncoder`.
        transform: Turns frames into pixel values as the model's own processor does.
        labels: The name of each class, in the order of the logits; empty for an encoder.
        num_frames: Frames that the model takes.
        note: As in `ClipReader`.
        sees_frames: Whether it is an image model, whose outputs for the frames of a clip are
            averaged.
    """

    model: nn.Module
    transform: VideoTransform
    labels: tuple[str, ...]
    num_frames: int
    note: Callable[[int, int], tuple[str, ...]] = no_note
    sees_frames: bool = False


def load_pretrained(
    name: str,
    device: torch.device,
    dtype: torch.dtype | None,
    labels: tuple[str, ...] | None = None,
    frames: int | None = None,
) -> Pretrained:
    """Load a classifier or an encoder of transformers with its preprocessing.

    Args:
        name: A directory, or the id of a model on the hub or in its cache.
        device: Device to move the model to.
        dtype: Dtype of the weights; None for the checkpoint's own, or float32 on a CPU.
        labels: Names of the classes, in place of the model's own; ignored for an encoder.
        frames: Frames of a video for an image model; None for 8, or a video model's own.

    Raises:
        FileNotFoundError: If the model, its config or its preprocessor config is missing, or the
            hub cannot be reached.
        ValueError: If it is neither of the two, a weight is missing from the checkpoint, there is
            not exactly one label per class, or `frames` is given for a video model.
    """
    source = model_source(name)
    config, directory = read_config(source), model_directory(source)
    model_class = _class_of(config, name)
    transform = _read_transform(directory)
    _validate_frame_size(config, model_class, transform, name)
    # Checked before memory is allocated.
    num_frames = Sampling(_num_frames(config, model_class, frames)).num_frames
    model = load_weights(source, model_class, dtype)
    drop_language_model(model)
    if dtype is None and device.type == "cpu":
        model = model.float()
    model = _on_clips(model, model_class).eval().to(device)
    sees_frames = _sees_frames(model_class)
    if isinstance(model, VideoEncoder):
        return Pretrained(model, transform, (), num_frames, sees_frames=sees_frames)
    own = _labels_of(config)
    if labels is not None and len(labels) != len(own):
        raise ValueError(
            f"labels must be {len(own)} names, one per class of the model, got {len(labels)}. Give "
            "one name per class, in the model's order."
        )
    return Pretrained(model, transform, labels or own, num_frames, sees_frames=sees_frames)


def _class_of(config: Any, name: str) -> str:
    """The class of transformers to load: what the checkpoint was saved as, if it is known."""
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES,
        MODEL_FOR_VIDEO_CLASSIFICATION_MAPPING_NAMES,
    )

    kind = config.model_type
    saved_as = str((config.architectures or [""])[0])
    if saved_as in ENCODERS:
        return saved_as
    for names in (
        MODEL_FOR_VIDEO_CLASSIFICATION_MAPPING_NAMES,
        MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES,
    ):
        found = names.get(kind, ())
        classes = (found,) if isinstance(found, str) else tuple(found)
        # A classifier is made of a checkpoint that names none, and fails for want of its head.
        if classes and (
            saved_as in classes or names is MODEL_FOR_VIDEO_CLASSIFICATION_MAPPING_NAMES
        ):
            return saved_as if saved_as in classes else classes[0]
    raise ValueError(
        f"model must be an image or video classifier or a known encoder, got "
        f"{saved_as or kind!r} in {name!r}. Pass, for example, a VideoMAE, CLIP, SigLIP, DINOv2 or "
        "V-JEPA 2."
    )


def _validate_frame_size(
    config: Any, model_class: str, transform: VideoTransform, name: str
) -> None:
    """Refuse frames of a size that the model has no positions for, before any video is read."""
    if model_class.startswith(("Dinov2", "DINOv3")):  # these stretch their positions
        return
    vision = getattr(config, "vision_config", config)
    side = getattr(vision, "crop_size" if model_class.startswith("VJEPA2") else "image_size", None)
    wanted = tuple(side) if isinstance(side, list | tuple) else (side, side)
    if side is not None and transform.fixed_size not in (None, wanted):
        raise ValueError(
            f"`model={name}` must have a preprocessor config for frames of {wanted}, the size in "
            f"its config.json, got {transform.fixed_size}. Correct one of the two."
        )


def _sees_frames(model_class: str) -> bool:
    if model_class in ENCODERS:
        return ENCODERS[model_class].sees == "frames"
    return not model_class.endswith("ForVideoClassification")


def _num_frames(config: Any, model_class: str, frames: int | None) -> int:
    if _sees_frames(model_class):
        return DEFAULT_FRAMES if frames is None else frames
    vision = getattr(config, "vision_config", config)
    own = int(vision.num_frames if hasattr(vision, "num_frames") else vision.frames_per_clip)
    if frames not in (None, own):
        raise ValueError(
            f"`frames` must be left out for a video model, got {frames}: it takes {own} frames. "
            "Leave it out."
        )
    return own


def _on_clips(model: nn.Module, model_class: str) -> nn.Module:
    if model_class in ENCODERS:
        return VideoEncoder(model)
    if _sees_frames(model_class):
        return FrameClassifier(model)
    return ClipClassifier(model) if model_class.startswith("VJEPA2") else model


def _read_transform(directory: Path) -> VideoTransform:
    try:
        return VideoTransform.from_pretrained(directory)
    except (TypeError, RuntimeError, KeyError) as error:  # values of unexpected types
        raise ValueError(
            f"the preprocessor config must hold numbers and sizes, got {str(directory)!r} where "
            f"it does not ({reason_of(error)}). Correct the file."
        ) from error


def _labels_of(config: Any) -> tuple[str, ...]:
    try:
        return tuple(str(config.id2label[i]) for i in range(config.num_labels))
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"id2label must name every class from 0 to {config.num_labels - 1}, got "
            f"{config.id2label!r:.200}. Correct config.json."
        ) from error


def resolve_device(name: str) -> torch.device:
    """Get the device of a name; `auto` is CUDA if available, else the CPU.

    Raises:
        ValueError: If the name is unknown or the machine has no such device.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    device = torch.device(validate_device(name))
    num_there = {
        "cpu": 1,
        "cuda": torch.cuda.device_count(),
        "mps": int(torch.backends.mps.is_available()),
    }
    if (device.index or 0) >= num_there[device.type]:
        present = [kind for kind, count in num_there.items() if count]
        raise ValueError(
            f"`device` must be one that this machine has ({', '.join(present)}), got {name!r}. "
            "Use auto."
        )
    return device


def resolve_dtype(name: str, device: torch.device) -> torch.dtype | None:
    """Get the dtype of a name; `auto` is None, the checkpoint's own. Warns if it is emulated.

    Raises:
        ValueError: If the name is unknown, or the device supports it poorly or not at all.
    """
    name = canonical_dtype(name)
    if name == "auto":
        return None
    if device.type == "cpu" and name == "float16":
        raise ValueError(
            "`dtype` must be float32 or bfloat16 on a CPU, got 'float16'. Use auto, or a GPU."
        )
    if device.type == "cuda" and name == "bfloat16" and not torch.cuda.is_bf16_supported():
        raise ValueError(
            "`dtype` must be float32 or float16 on this GPU, got 'bfloat16'. Use float16."
        )
    dtype = DTYPES[name]
    if dtype == torch.bfloat16 and not bfloat16_is_native(device):
        warnings.warn(
            "this processor has no native bfloat16 (avx512_bf16, amx_bf16 or Arm's bf16): it is "
            "emulated by way of float32, which is likely slower than float32.",
            stacklevel=2,
        )
    return dtype
