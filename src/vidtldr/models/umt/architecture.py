"""Compare the weights of a file with those of a model and report mismatches."""

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple, get_args

from torch import Tensor

from vidtldr.models.umt.config import ConfigName, UMTConfig
from vidtldr.models.umt.parameter_names import Task
from vidtldr.models.weights_file import mismatches

__all__ = ["likely_architecture", "validate_weights"]


class Sizes(NamedTuple):
    """Sizes inferred from the names and shapes of a file."""

    num_layers: int
    hidden_size: int
    num_text_layers: int
    text_size: int


def validate_weights(
    found: Mapping[str, Tensor], expected: Mapping[str, Tensor], config: UMTConfig, task: Task
) -> None:
    """Raise unless names and shapes agree exactly.

    Raises:
        ValueError: If they differ; names the first few mismatches and the likely architecture.
    """
    problems = mismatches(found, expected)
    if problems:
        raise ValueError(
            f"weights must fit the model ({_words(_sizes_of(config))}, task={task!r}), "
            f"got {problems}. {likely_architecture(found, task)}"
        )


def likely_architecture(found: Mapping[str, Tensor], task: Task) -> str:
    """Say in a sentence what the file seems to hold, and what to pass for it.

    Args:
        found: Weights under our names.
        task: The requested task.
    """
    has_decoder = any(name.startswith("text_decoder.cls.") for name in found)
    if not any(name.startswith("vision_encoder.encoder.") for name in found):
        return (
            "The file does not look like a multi-modality UMT checkpoint: "
            "no name starts with 'vision_encoder.encoder.'. Use one with vision and text."
        )
    if task == "retrieval" and has_decoder:
        return "The file looks like a question-answering checkpoint. Pass `task='answering'`."
    if task == "answering" and not has_decoder:
        return "The file looks like a retrieval checkpoint. Pass `task='retrieval'`."
    sizes = _sizes_in(found)
    for name in get_args(ConfigName):
        if _sizes_of(UMTConfig.named(name)) == sizes:
            return f"The file looks like {name!r} ({_words(sizes)}). Pass `config={name!r}`."
    return f"The file looks like {_words(sizes)}. Pass a `config` of these sizes."


def _words(sizes: Sizes) -> str:
    return (
        f"{sizes.num_layers} vision layers of {sizes.hidden_size} channels and "
        f"{sizes.num_text_layers} text layers of {sizes.text_size}"
    )


def _sizes_of(config: UMTConfig) -> Sizes:
    text = config.text_config()
    return Sizes(config.num_layers, config.hidden_size, text.num_hidden_layers, text.hidden_size)


def _sizes_in(found: Mapping[str, Tensor]) -> Sizes:
    return Sizes(
        _num_layers(found, r"vision_encoder\.encoder\.blocks\.(\d+)\."),
        _num_rows(found, "vision_encoder.encoder.patch_embed.proj.weight"),
        _num_layers(found, r"text_encoder\.encoder\.layer\.(\d+)\."),
        _num_rows(found, "text_encoder.embeddings.LayerNorm.weight"),
    )


def _num_layers(names: Iterable[str], pattern: str) -> int:
    indices = [int(match[1]) for name in names if (match := re.match(pattern, name))]
    return max(indices, default=-1) + 1


def _num_rows(found: Mapping[str, Tensor], name: str) -> int:
    return found[name].shape[0] if name in found and found[name].ndim else 0
