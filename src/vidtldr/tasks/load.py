"""Load a model by name, ready on its device: the bundled one, UMT, or one of transformers."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from torch import nn

from vidtldr.budget.counts import resolved_r
from vidtldr.bundled import BUNDLED
from vidtldr.config import MergeConfig
from vidtldr.files import read_json
from vidtldr.hosts.registry import find_host
from vidtldr.models.umt.answering import UMTAnswering
from vidtldr.models.umt.checkpoint import load_umt
from vidtldr.models.umt.config import UMTConfig
from vidtldr.models.umt.retrieval import UMTRetrieval
from vidtldr.patch.patching import apply_patch
from vidtldr.tasks.clip_reader import umt_reader
from vidtldr.tasks.compiled_pretrained import compile_pretrained
from vidtldr.tasks.dual_encoder import DualEncoder
from vidtldr.tasks.embed import Embedder, pretrained_embedder, umt_embedder
from vidtldr.tasks.exported.model import (
    TextEncoder,
    exported_classifier,
    exported_embedder,
    validate_weights,
)
from vidtldr.tasks.exported.record import ExportRecord
from vidtldr.tasks.model_files import directory_here
from vidtldr.tasks.model_spec import ModelSpec
from vidtldr.tasks.pretrained import (
    Pretrained,
    load_pretrained,
    resolve_device,
    resolve_dtype,
)
from vidtldr.tasks.text_features import encode_typed
from vidtldr.tasks.video_encoder import VideoEncoder
from vidtldr.tasks.video_features import VideoEncoding
from vidtldr.tasks.zero_shot import dual_classifier, text_classifier

__all__ = [
    "UMTSource",
    "load_answering",
    "load_classifier",
    "load_embedder",
    "load_model",
    "load_retrieval",
    "umt_source",
]

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
LABELS_FILE = "labels.json"
ModelT = TypeVar("ModelT", UMTRetrieval, UMTAnswering)


class UMTSource(NamedTuple):
    """Arguments of `load_umt`: weights, config, tokenizer."""

    weights: Path
    config: UMTConfig
    tokenizer: str | Path | None


def load_retrieval(spec: ModelSpec) -> UMTRetrieval:
    """Load a UMT model that compares videos with texts.

    Args:
        spec: The model; the bundled one qualifies.

    Raises:
        ValueError, OSError: If it is not such a model, or a file is missing or damaged.
    """
    resolve_device(spec.device)  # fail before the slow part
    source = umt_source(spec)
    model = load_umt(source.weights, config=source.config, tokenizer=source.tokenizer)
    return _ready(model, spec)


def load_answering(spec: ModelSpec) -> UMTAnswering:
    """Load a UMT model that answers questions; otherwise as `load_retrieval`."""
    resolve_device(spec.device)
    source = umt_source(spec)
    model = load_umt(
        source.weights, task="answering", config=source.config, tokenizer=source.tokenizer
    )
    return _ready(model, spec)


def load_classifier(
    spec: ModelSpec, labels: Sequence[str] | None = None, template: str | None = None
) -> Pretrained:
    """Load a model that predicts label probabilities.

    Args:
        spec: The model.
        labels: Names of the classes. They replace the labels of a transformers classifier; a UMT
            checkpoint and a dual encoder have none of their own. None for the model's own, which
            classifiers and the bundled model have.
        template: Prompt for a label, with one `{}`, for a model that reads texts.

    Raises:
        ValueError, TypeError, NotImplementedError, OSError, ImportError: If it is not such a
            model, or a file is missing or damaged.
    """
    if spec.is_exported:
        if template is not None:
            raise _no_texts(template, spec)
        return exported_classifier(spec, labels)
    if spec.is_umt:
        names = _own_labels(spec) if labels is None else labels
        return text_classifier(load_retrieval(spec), names, template)
    pretrained, dual = load_model(spec, labels)
    if dual is not None:
        if labels is None:
            raise ValueError(
                f"`labels` must be given with {spec.name!r}, which reads texts and has none of its "
                "own, got none. Write `labels=yoga,reading book`."
            )
        return dual_classifier(pretrained, dual, labels, template)
    if isinstance(pretrained.model, VideoEncoder):
        raise ValueError(
            f"`model` must be a classifier or read texts, got {spec.name!r}, an encoder that does "
            "neither. Use it with embed, search --like or index."
        )
    if template is not None:
        raise _no_texts(template, spec)
    return pretrained


def _no_texts(template: str, spec: ModelSpec) -> ValueError:
    return ValueError(
        f"`template` must come with a model that reads texts, got {template!r} with "
        f"{spec.name!r}. Leave it out."
    )


def load_model(
    spec: ModelSpec, labels: Sequence[str] | None = None
) -> tuple[Pretrained, DualEncoder | None]:
    """Load a classifier or an encoder of transformers, and its text side if it has one.

    Args:
        spec: The model, not of UMT.
        labels: Names of the classes, in place of a classifier's own.

    Raises:
        ValueError, TypeError, OSError, ImportError: As `load_pretrained`.
    """
    assert spec.model is not None  # it would be UMT
    device = resolve_device(spec.device)
    names = None if labels is None else tuple(labels)
    pretrained = load_pretrained(
        spec.model, device, resolve_dtype(spec.dtype, device), names, spec.frames
    )
    encoder = pretrained.model
    if not isinstance(encoder, VideoEncoder) or not encoder.kind.reads_texts:
        return pretrained, None
    return pretrained, DualEncoder(encoder, spec.model)


def load_embedder(
    spec: ModelSpec,
    merge: MergeConfig | None = None,
    *,
    time_limit_seconds: float = 120.0,
    compile_for: int | None = None,
) -> Embedder:
    """Load a model that embeds videos.

    Args:
        spec: The model: UMT, a classifier or an encoder, or an exported file of one.
        merge: What to merge; None for nothing, or if the file merges already.
        time_limit_seconds: Time limit for reading a video.
        compile_for: Batch size to compile the model for; None leaves it uncompiled.

    Raises:
        ValueError, TypeError, NotImplementedError, ImportError, OSError: As `load_classifier`,
            `apply_patch` and `CompiledTwin`.
    """
    if spec.is_exported:
        for name, value in (("merge", merge), ("compile", compile_for)):
            if value is not None:
                raise ValueError(
                    f"`{name}` must be left out with an exported model, got {spec.name!r}: it runs "
                    "as it was exported. Leave it out."
                )
        return exported_embedder(spec, _text_encoder, time_limit_seconds)
    if spec.is_umt:
        model = load_retrieval(spec)
        reader = umt_reader(model.config, time_limit_seconds=time_limit_seconds)
        embedder = umt_embedder(VideoEncoding(model, reader, merge, compile_for=compile_for))
        return replace(embedder, r=_removed(model, merge))
    pretrained, dual = load_model(spec)
    if merge is not None:
        apply_patch(pretrained.model, merge)
    compiled = compile_pretrained(pretrained, compile_for) if compile_for else None
    embedder = pretrained_embedder(
        pretrained,
        merge=merge,
        time_limit_seconds=time_limit_seconds,
        compiled=compiled,
        dual=dual,
    )
    return replace(embedder, r=_removed(pretrained.model, merge))


def _text_encoder(record: ExportRecord) -> TextEncoder:
    """Load the model that was exported, from this machine alone, to encode texts."""
    spec = replace(record.model, device="cpu")
    if spec.is_umt:
        umt = load_retrieval(spec)
        validate_weights(umt, record.weights, spec.name)
        return partial(encode_typed, umt)
    directory = directory_here(spec.name)
    if directory is None:
        raise FileNotFoundError(
            f"`model` must still be on this machine to encode texts, got {spec.name!r}, which was "
            "exported and is not. Download it, or export it again."
        )
    pretrained, dual = load_model(replace(spec, model=directory))
    validate_weights(pretrained.model, record.weights, spec.name)
    assert dual is not None  # it was when it was exported
    return dual.encode_typed


def umt_source(spec: ModelSpec) -> UMTSource:
    """Find weights, config and tokenizer; a converted directory supplies what `spec` leaves out.

    Raises:
        ValueError: If the spec contradicts the directory, or the file of sizes is invalid.
        OSError: If something cannot be read.
    """
    path = spec.checkpoint
    if not path.is_dir():
        config = _with_frames(_read_arch(spec.arch or "b16"), spec.frames)
        return UMTSource(path, config, spec.tokenizer)
    if not (path / CONFIG_FILE).is_file():
        raise FileNotFoundError(
            "`model` must be umt: and a file, or a directory written by `convert_checkpoint`, got "
            f"{spec.model!r} without {CONFIG_FILE}. Name the checkpoint's file."
        )
    saved = _read_sizes(path / CONFIG_FILE, "`model`")
    if spec.arch is not None and _read_arch(spec.arch) != saved:
        raise ValueError(
            f"`arch` must be left out or equal the sizes in {str(path / CONFIG_FILE)!r}, got "
            f"{spec.arch!r}. Leave it out."
        )
    config = _with_frames(saved, spec.frames)
    weights = path if config == saved else path / WEIGHTS_FILE
    return UMTSource(weights, config, spec.tokenizer or path)


def _removed(model: nn.Module, merge: MergeConfig | None) -> tuple[int, ...] | None:
    return None if merge is None else resolved_r(merge, find_host(model))


def _ready(model: ModelT, spec: ModelSpec) -> ModelT:
    device = resolve_device(spec.device)
    dtype = resolve_dtype(spec.dtype, device)
    model.tokenizer.load()  # fail before any video is read
    return model.to(device=device, dtype=dtype)


def _own_labels(spec: ModelSpec) -> tuple[str, ...]:
    if not spec.is_bundled:
        return ()
    return tuple(read_json(BUNDLED / LABELS_FILE))


def _with_frames(config: UMTConfig, frames: int | None) -> UMTConfig:
    return config if frames is None else replace(config, num_frames=frames)


def _read_arch(arch: str) -> UMTConfig:
    if arch in ("b16", "l16"):
        return UMTConfig.named(arch)
    if not Path(arch).is_file():
        raise ValueError(
            f"`arch` must be b16, l16 or a JSON file of sizes, got {arch!r}, which is not a file. "
            "Check the name."
        )
    return _read_sizes(Path(arch), "`arch`")


def _read_sizes(path: Path, name: str) -> UMTConfig:
    """Read the fields of a `UMTConfig`, bare or nested as in a converted directory."""
    try:
        values: Any = read_json(path)
        if not isinstance(values, dict):
            raise ValueError("it holds no object")
        return UMTConfig.from_dict(values.get("config", values))
    except (ValueError, TypeError) as error:
        raise ValueError(f"{name} must have its sizes in {str(path)!r}: {error}") from error
