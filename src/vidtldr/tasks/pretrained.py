"""Load a video classifier and everything that its directory says about its input."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from vidtldr.video.transform import VideoTransform

__all__ = ["DEVICES", "DTYPES", "Pretrained", "load_classifier", "resolve_device", "resolve_dtype"]

DEVICES = ("auto", "cpu", "cuda", "mps")
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
_BLOCK_KEY = re.compile(r"\.layers?\.\d+\.")
_PROCESSOR_FILES = ("video_preprocessor_config.json", "preprocessor_config.json")


@dataclass(frozen=True)
class Pretrained:
    """A loaded classifier.

    Attributes:
        model: In evaluation mode, on its device, with fused attention.
        transform: Frames to pixel values, as the model's own processor does it.
        labels: The name of each class, in the order of the logits.
        num_frames: Frames that the model takes.
    """

    model: nn.Module
    transform: VideoTransform
    labels: tuple[str, ...]
    num_frames: int


def load_classifier(
    name: str,
    device: torch.device,
    dtype: torch.dtype | None,
    labels: tuple[str, ...] | None = None,
) -> Pretrained:
    """Load a video classifier of transformers with its preprocessing.

    Args:
        name: A directory, or the id of a model on the hub or in its cache.
        device: Where to put it.
        dtype: Type of the weights; None for the checkpoint's own, as float32 on a CPU.
        labels: Names of the classes instead of the model's own.

    Returns:
        The classifier.

    Raises:
        FileNotFoundError: If the directory, its weights or its preprocessor config is missing.
        ValueError: If it is no video classifier, a weight is missing from the checkpoint, or
            there is not one label a class.
    """
    config, directory = _read_config(name), _directory(name)
    transform = _read_transform(directory)
    model = _load_model(name, dtype)
    if dtype is None and device.type == "cpu":
        model = model.float()
    own = _labels_of(config)
    if labels is not None and len(labels) != len(own):
        raise ValueError(
            f"labels must be {len(own)} names, one a class of the model, got {len(labels)}. Give "
            "one name a class, in the model's order."
        )
    return Pretrained(model.eval().to(device), transform, labels or own, int(config.num_frames))


def _read_transform(directory: Path) -> VideoTransform:
    try:
        return VideoTransform.from_pretrained(directory)
    except (TypeError, RuntimeError, KeyError) as error:  # values of kinds that nobody foresaw
        raise ValueError(
            f"the preprocessor config must hold numbers and sizes, got {str(directory)!r} where "
            f"it does not ({_reason(error)}). Correct the file."
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
    """The device of a name; `auto` is CUDA where there is one, else the CPU.

    Raises:
        ValueError: If the name is unknown or the machine has no such device.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name not in DEVICES:
        raise ValueError(f"device must be one of {DEVICES}, got {name!r}. Choose one of them.")
    available = {
        "cpu": True,
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
    }
    if not available[name]:
        present = [device for device, there in available.items() if there]
        raise ValueError(
            f"device must be one that this machine has ({', '.join(present)}), got {name!r}. Use "
            "auto."
        )
    return torch.device(name)


def resolve_dtype(name: str, device: torch.device) -> torch.dtype | None:
    """The dtype of a name; `auto` is None, the checkpoint's own.

    Raises:
        ValueError: If the name is unknown, or the device computes it slowly or not at all.
    """
    if name == "auto":
        return None
    if name not in DTYPES:
        raise ValueError(
            f"dtype must be one of {('auto', *DTYPES)}, got {name!r}. Choose one of them."
        )
    if device.type == "cpu" and name == "float16":
        raise ValueError(
            "dtype must be float32 or bfloat16 on a CPU, got 'float16'. Use auto, or a GPU."
        )
    if device.type == "cuda" and name == "bfloat16" and not torch.cuda.is_bf16_supported():
        raise ValueError(
            "dtype must be float32 or float16 on this GPU, got 'bfloat16'. Use float16."
        )
    return DTYPES[name]


def _read_config(name: str) -> Any:
    from transformers import AutoConfig
    from transformers.models.auto.modeling_auto import MODEL_FOR_VIDEO_CLASSIFICATION_MAPPING

    if _looks_like_a_path(name) and not Path(name).is_dir():
        raise FileNotFoundError(
            f"model must be a directory that exists, or a hub id, got {name!r}. Check the path."
        )
    try:
        config = AutoConfig.from_pretrained(name, trust_remote_code=False)
    except OSError as error:
        raise FileNotFoundError(
            f"model must be a directory with a config.json, or a hub id in reach, got {name!r}, "
            "which is no directory here and was not found on the hub. Download the model first, "
            "or check the name."
        ) from error
    except Exception as error:  # whatever a hostile config makes transformers raise
        raise ValueError(
            f"model must have a config.json that transformers can read, got {name!r}: "
            f"{_reason(error)}. Correct the file; code of its own is never run."
        ) from error
    if type(config) not in MODEL_FOR_VIDEO_CLASSIFICATION_MAPPING:
        raise ValueError(
            f"model must be a video classifier of transformers, got a {config.model_type!r} in "
            f"{name!r}. Pass, for example, a fine-tuned VideoMAE or ViViT."
        )
    return config


def _load_model(name: str, dtype: torch.dtype | None) -> nn.Module:
    from transformers import AutoModelForVideoClassification

    try:
        model, info = AutoModelForVideoClassification.from_pretrained(
            name,
            dtype="auto" if dtype is None else dtype,
            trust_remote_code=False,
            output_loading_info=True,
        )
    except Exception as error:  # whatever a hostile config or file makes transformers raise
        raise ValueError(
            f"model must have weights that fit its config, got {name!r}: {_reason(error)}. Copy "
            "the whole config.json and model.safetensors there."
        ) from error
    missing = sorted(info["missing_keys"])
    if missing:
        # Transformers would go on with random values there, and with random answers.
        raise ValueError(
            f"model must have all its weights, got {name!r} without {len(missing)} of them "
            f"({', '.join(missing[:3])}). Use a checkpoint that was fine-tuned to classify."
        )
    unexpected = sorted(key for key in info["unexpected_keys"] if _BLOCK_KEY.search(key))
    if unexpected:
        raise ValueError(
            f"model must use all the blocks of its checkpoint, got {name!r} with a config that "
            f"leaves out {len(unexpected)} weights ({', '.join(unexpected[:3])}). Correct "
            "num_hidden_layers in config.json."
        )
    return _with_fused_attention(model)


def _with_fused_attention(model: Any) -> nn.Module:
    """What a config says of attention is not what a comparison means by unmerged."""
    if model._supports_sdpa:
        model.set_attn_implementation("sdpa")
    assert isinstance(model, nn.Module)
    return model


def _reason(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__


def _directory(name: str) -> Path:
    """Where the files of a model lie: its directory, or its snapshot in the hub's cache."""
    if Path(name).is_dir():
        return Path(name)
    from transformers.utils.hub import cached_file

    found = [
        cached_file(name, file, _raise_exceptions_for_missing_entries=False)
        for file in _PROCESSOR_FILES
    ]
    paths = [Path(file) for file in found if file is not None]
    if not paths:
        raise FileNotFoundError(
            f"model must have a preprocessor_config.json, got {name!r} without one. Pass a "
            "directory that has it."
        )
    return paths[0].parent


def _looks_like_a_path(name: str) -> bool:
    return name.startswith((".", "/", "~")) or name.count("/") > 1 or "\\" in name or not name
