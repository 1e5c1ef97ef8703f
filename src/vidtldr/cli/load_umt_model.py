"""Load the UMT model that the options name, ready on its device."""

import dataclasses
import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import typer

from vidtldr.cli.flag_words import in_flags
from vidtldr.cli.progress import status
from vidtldr.cli.quiet import quiet_transformers
from vidtldr.cli.text import one_line
from vidtldr.cli.typed_dtype import typed_dtype
from vidtldr.cli.umt_options import UMTOptions
from vidtldr.hosts.presets import preset_for
from vidtldr.models.umt.answering import UMTAnswering
from vidtldr.models.umt.checkpoint import load_umt
from vidtldr.models.umt.config import UMTConfig
from vidtldr.models.umt.retrieval import UMTRetrieval
from vidtldr.shapes.bundled_model import BUNDLED, BUNDLED_PRESET
from vidtldr.tasks.pretrained import resolve_device

__all__ = ["load_answering", "load_retrieval", "notes_on_stderr", "read_source"]

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
BUNDLED_NOTE = "bundled shapes model: it knows coloured shapes, not your world"
ModelT = TypeVar("ModelT", UMTRetrieval, UMTAnswering)


class Source(NamedTuple):
    """What `load_umt` is called with: weights, sizes, tokenizer."""

    weights: Path
    config: UMTConfig
    tokenizer: str | Path | None


def load_retrieval(options: UMTOptions, preset: str | None = None) -> UMTRetrieval:
    """Load a model that compares videos with texts, and say so if it is the bundled one.

    Args:
        options: As typed.
        preset: Name of the schedule, to be checked against the model.

    Raises:
        ValueError, OSError: With what is wrong and what to do.
    """
    source = _source_of(options, preset)
    with status("loading the model"), notes_on_stderr():
        model = load_umt(source.weights, config=source.config, tokenizer=source.tokenizer)
    return _ready(model, options, preset)


def load_answering(options: UMTOptions, preset: str | None = None) -> UMTAnswering:
    """Load a model that answers questions; otherwise as `load_retrieval`."""
    source = _source_of(options, preset)
    with status("loading the model"), notes_on_stderr():
        model = load_umt(
            source.weights, task="answering", config=source.config, tokenizer=source.tokenizer
        )
    return _ready(model, options, preset)


def read_source(options: UMTOptions) -> Source:
    """Find weights, sizes and tokenizer: a converted directory's where nothing else is said.

    Raises:
        ValueError: If the options contradict the directory, the file of sizes is no such file, or
            there are no words where the tokenizer should be.
        OSError: If something cannot be read.
    """
    path = options.checkpoint
    tokenizer = options.tokenizer
    if not path.is_dir():
        return Source(path, _with_frames(_read_arch(options.arch or "b16"), options), tokenizer)
    if not (path / CONFIG_FILE).is_file():
        raise FileNotFoundError(
            "--model must be umt: and a file, or a directory written by vidtldr convert, got "
            f"{options.model!r} without {CONFIG_FILE}. Name the checkpoint's file."
        )
    saved = _read_sizes(path / CONFIG_FILE, "--model")
    if options.arch is not None and _read_arch(options.arch) != saved:
        raise ValueError(
            f"--arch must be left out or equal the sizes in {str(path / CONFIG_FILE)!r}, got "
            f"{options.arch!r}. Leave it out."
        )
    config = _with_frames(saved, options)
    weights = path if config == saved else path / WEIGHTS_FILE
    return Source(weights, config, tokenizer or path)


def _source_of(options: UMTOptions, preset: str | None) -> Source:
    """Check what can be checked before the long part, and say which model it is."""
    resolve_device(options.device)
    if preset == BUNDLED_PRESET and options.checkpoint != BUNDLED:
        raise ValueError(
            f"--preset {BUNDLED_PRESET} must be used with the bundled model, got --model "
            f"{options.model}. Leave out one of the two."
        )
    if options.is_bundled:
        typer.echo(BUNDLED_NOTE, err=True)
    return read_source(options)


@contextmanager
def notes_on_stderr() -> Iterator[None]:
    """Print the library's warnings as notes, a line each."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        yield
    for warning in caught:
        if warning.category is UserWarning:
            typer.echo(f"note: {one_line(in_flags(str(warning.message)))}", err=True)


def _ready(model: ModelT, options: UMTOptions, preset: str | None) -> ModelT:
    device = resolve_device(options.device)
    dtype = typed_dtype(options.dtype, device)
    if preset not in (None, BUNDLED_PRESET):
        preset_for(model, preset)
    quiet_transformers()
    model.tokenizer.load()  # what is wrong with it is known before any video is read
    return model.to(device=device, dtype=dtype)


def _with_frames(config: UMTConfig, options: UMTOptions) -> UMTConfig:
    if options.frames is None:
        return config
    return dataclasses.replace(config, num_frames=options.frames)


def _read_arch(arch: str) -> UMTConfig:
    if arch in ("b16", "l16"):
        return UMTConfig.named(arch)
    if not Path(arch).is_file():
        raise ValueError(
            f"--arch must be b16, l16 or a JSON file of sizes, got {arch!r}, which is no file. "
            "Check the name."
        )
    return _read_sizes(Path(arch), "--arch")


def _read_sizes(path: Path, name: str) -> UMTConfig:
    """Read the fields of a `UMTConfig`, bare or as a converted directory has them."""
    try:
        values: Any = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(values, dict):
            raise ValueError("it holds no object")
        return UMTConfig.from_dict(values.get("config", values))
    except (ValueError, TypeError) as error:
        raise ValueError(f"{name} must have its sizes in {str(path)!r}: {error}") from error
