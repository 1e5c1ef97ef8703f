"""Load UMT from published files, from safetensors, and from converted directories."""

import json
import warnings
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args, overload

import torch
from safetensors.torch import save_file
from torch import Tensor

from vidtldr.files import read_json, whole_file
from vidtldr.models.umt.answering import UMTAnswering
from vidtldr.models.umt.architecture import validate_weights
from vidtldr.models.umt.config import ConfigName, UMTConfig, resolve_config
from vidtldr.models.umt.parameter_names import NamedWeights, Task, canonical_weights
from vidtldr.models.umt.retrieval import UMTRetrieval
from vidtldr.models.umt.tokenizer import TokenizerSource
from vidtldr.models.weights_file import read_tensors

__all__ = ["convert_checkpoint", "load_umt"]

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
NUM_PRETRAINING_FRAMES = 4


class Saved(NamedTuple):
    """Contents of a converted directory's `config.json`; a task of None means both."""

    config: UMTConfig
    task: Task | None
    untrained: tuple[str, ...]


@overload
def load_umt(
    weights: str | Path,
    *,
    task: Literal["retrieval"] = "retrieval",
    config: ConfigName | UMTConfig = "b16",
    tokenizer: TokenizerSource | None = None,
) -> UMTRetrieval: ...


@overload
def load_umt(
    weights: str | Path,
    *,
    task: Literal["answering"],
    config: ConfigName | UMTConfig = "b16",
    tokenizer: TokenizerSource | None = None,
) -> UMTAnswering: ...


def load_umt(
    weights: str | Path,
    *,
    task: Task = "retrieval",
    config: ConfigName | UMTConfig = "b16",
    tokenizer: TokenizerSource | None = None,
) -> UMTRetrieval | UMTAnswering:
    """Load UMT for a task; every weight of the model comes from the file, and none is left over.

    Parts used only in training are ignored by an explicit list. A pretrained file lacks the answer
    decoder: for answering, it is made from the fusion layers, a warning says so and
    `model.untrained` names it. The file is memory-mapped if its format allows it: do not overwrite
    it while the model is in use.

    Args:
        weights: A published `.pth` file, a `.safetensors` file with the same names, or a directory
            written by `convert_checkpoint`, which has its own config and tokenizer. Weights that
            serve both tasks load for either.
        task: "retrieval" gives a `UMTRetrieval`, "answering" a `UMTAnswering`.
        config: "b16", "l16" (12 frames of 224), or custom sizes. A directory's own config takes
            precedence over "b16".
        tokenizer: A directory with BERT's vocabulary, or a Hugging Face tokenizer. None uses the
            directory's, else bert-base-uncased or bert-large-uncased from the Hugging Face cache,
            on first use.

    Returns:
        The model in evaluation mode, on the CPU, float32.

    Raises:
        FileNotFoundError: If `weights` does not exist.
        ValueError: If the file is broken or does not fit the model; says what the file looks like.
    """
    _validate_task(task)
    path = Path(weights)
    untrained: tuple[str, ...] = ()
    if path.is_dir():
        saved = _read_directory(path, task, config)
        config, untrained = saved.config, saved.untrained
        tokenizer = path if tokenizer is None else tokenizer
        path = path / WEIGHTS_FILE
    config = resolve_config(config)
    named = canonical_weights(read_tensors(path), task, config.text_config().fusion_layer)
    model = _build(named.tensors, task, config, tokenizer)
    model.untrained = untrained or named.untrained
    _warn(named, model.untrained, config)
    return model


def convert_checkpoint(
    source: str | Path,
    destination: str | Path,
    *,
    task: Task = "retrieval",
    config: ConfigName | UMTConfig = "b16",
    tokenizer: TokenizerSource | None = None,
) -> Path:
    """Write a checkpoint as a directory that `load_umt` reads given only `task`.

    The directory holds `model.safetensors` (the weights of one task, float32), `config.json` and
    the tokenizer's files. It is complete once `model.safetensors` exists.

    Args:
        source: As `weights` of `load_umt`.
        destination: Directory to write; must be new or empty.
        task: As for `load_umt`.
        config: As for `load_umt`.
        tokenizer: As for `load_umt`; the default one must be in the Hugging Face cache.

    Returns:
        The directory.

    Raises:
        FileNotFoundError: If `source` does not exist.
        ValueError: If `destination` holds files, or as for `load_umt`.
    """
    directory = Path(destination)
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise ValueError(
            f"destination must be new or empty, got {str(destination)!r}. Choose another directory."
        )
    _validate_task(task)
    model = load_umt(source, task=task, config=config, tokenizer=tokenizer)
    model.tokenizer.load()
    directory.mkdir(parents=True, exist_ok=True)
    model.tokenizer.save(directory)
    saved = {"task": task, "config": model.config.to_dict(), "untrained": list(model.untrained)}
    (directory / CONFIG_FILE).write_text(json.dumps(saved, indent=2) + "\n", encoding="utf-8")
    with whole_file(directory / WEIGHTS_FILE) as partial:
        save_file(_unshared(model.state_dict()), partial)
        # safetensors makes the file readable by its owner only
        partial.chmod((directory / CONFIG_FILE).stat().st_mode)
    return directory


def _validate_task(task: str) -> None:
    if task not in get_args(Task):
        raise ValueError(f"task must be one of {get_args(Task)}, got {task!r}. Choose one.")


def _build(
    tensors: dict[str, Tensor], task: Task, config: UMTConfig, tokenizer: TokenizerSource | None
) -> UMTRetrieval | UMTAnswering:
    """Build the model around the tensors, without copying them."""
    with torch.device("meta"):
        kind = UMTRetrieval if task == "retrieval" else UMTAnswering
        model = kind(config, tokenizer)
    validate_weights(tensors, model.state_dict(), config, task)
    model.load_state_dict(tensors, assign=True)
    model.vision_encoder.encoder.reset_positions()
    return model.eval()


def _warn(named: NamedWeights, untrained: tuple[str, ...], config: UMTConfig) -> None:
    if untrained:
        warnings.warn(
            f"{', '.join(untrained)} was not trained for this task: the file has none, so it is "
            "a copy of the fusion layers. Fine-tune before trusting its answers.",
            stacklevel=3,
        )
    if named.pretrained and config.num_frames != NUM_PRETRAINING_FRAMES:
        warnings.warn(
            f"The file is a pretrained one, trained with {NUM_PRETRAINING_FRAMES} frames, but "
            f"config.num_frames is {config.num_frames}, so positions do not fit. Pass "
            f"`num_frames={NUM_PRETRAINING_FRAMES}`.",
            stacklevel=3,
        )


def _read_directory(directory: Path, task: Task, config: ConfigName | UMTConfig) -> Saved:
    file = directory / CONFIG_FILE
    if not file.is_file() or not (directory / WEIGHTS_FILE).is_file():
        raise FileNotFoundError(
            f"weights must be a file, or a directory with {CONFIG_FILE} and {WEIGHTS_FILE}, "
            f"got {str(directory)!r}. Write one with `convert_checkpoint`."
        )
    saved = _parse_saved(read_json(file))
    if saved.task not in (None, task):
        raise ValueError(
            f"task must be {saved.task!r}, which {str(directory)!r} was converted for, "
            f"got {task!r}. Convert the original file again for another task."
        )
    if config != "b16" and resolve_config(config) != saved.config:
        raise ValueError(
            f"config must be left out or equal the one in {str(file)!r}, got {config!r}. "
            "Leave it out."
        )
    return saved


def _parse_saved(values: dict[str, Any]) -> Saved:
    return Saved(
        UMTConfig.from_dict(values["config"]),
        values.get("task"),
        tuple(values.get("untrained", ())),
    )


def _unshared(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Copy tensors that share memory (tied word embeddings), which safetensors refuses."""
    seen: set[int] = set()
    separate = {}
    for name, value in state.items():
        value = value.clone() if value.data_ptr() in seen else value.contiguous()
        seen.add(value.data_ptr())
        separate[name] = value
    return separate
