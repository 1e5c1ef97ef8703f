"""Exported files in place of models: as a classifier, or to embed videos.

Letters: `B` clips, `T` frames, `S` side of a frame in pixels, `C` channels of the vector, `K`
classes or texts.
"""

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vidtldr.tasks.clip_reader import ClipReader
from vidtldr.tasks.embed import Embedder
from vidtldr.tasks.exported.engines import Run, load_graph
from vidtldr.tasks.exported.record import ExportRecord, read_record
from vidtldr.tasks.fingerprint import module_sha256
from vidtldr.tasks.model_spec import ModelSpec
from vidtldr.tasks.pretrained import Pretrained, resolve_device
from vidtldr.tasks.video_encoder import ClassLogits
from vidtldr.video.sampling import Sampling

__all__ = ["TextEncoder", "exported_classifier", "exported_embedder", "validate_weights"]

#: Of the vectors of texts, in the space of a model's vectors: texts and the argument's name.
TextEncoder = Callable[[Sequence[str], str], Tensor]


class ExportedClassifier(nn.Module):
    """An exported classifier, called like the model itself.

    Args:
        run: Runs the graph, whose first output is logits.
        num_tokens: Tokens after each layer.
    """

    def __init__(self, run: Run, num_tokens: tuple[int, ...]) -> None:
        super().__init__()
        self.run = run
        self.num_tokens = num_tokens

    def forward(self, pixel_values: Tensor) -> ClassLogits:
        """Classify clips (B, T, 3, S, S)."""
        return ClassLogits(self.run(pixel_values)[0])


def exported_classifier(spec: ModelSpec, labels: Sequence[str] | None = None) -> Pretrained:
    """Load an exported file as a classifier.

    Args:
        spec: Names the file.
        labels: Names of the classes, in place of the model's own.

    Raises:
        ValueError: If it is none, the number of labels is wrong, or as `_load`.
        ImportError, OSError: As `_load`.
    """
    record, run = _load(spec)
    if not record.labels:
        raise ValueError(
            f"`model` must be an exported classifier, got {spec.name!r}, exported from an encoder "
            "of videos. Use it with embed or index; to classify by texts, name the model itself."
        )
    if labels is not None and len(labels) != len(record.labels):
        raise ValueError(
            f"`labels` must be {len(record.labels)} names, one per class of the model, got "
            f"{len(labels)}. Give one name per class, in the model's order."
        )
    return Pretrained(
        ExportedClassifier(run, record.num_tokens).eval(),
        record.transform,
        record.labels if labels is None else tuple(labels),
        record.num_frames,
        sees_frames=record.sees_frames,
    )


def exported_embedder(
    spec: ModelSpec, text_encoder: Callable[[ExportRecord], TextEncoder], time_limit_seconds: float
) -> Embedder:
    """Load an exported file to embed videos.

    Args:
        spec: Names the file.
        text_encoder: Loads the model that was exported, to encode texts; called at the first text
            if the model reads any.
        time_limit_seconds: Time limit for reading a video.

    Raises:
        ValueError, ImportError, OSError: As `_load`.
    """
    record, run = _load(spec)
    reader = ClipReader(
        Sampling(record.num_frames), record.transform, time_limit_seconds=time_limit_seconds
    )
    load_texts = cache(lambda: text_encoder(record))

    def identity() -> dict[str, Any]:
        return {
            "weights": record.weights,
            "merge": None if record.merge is None else record.merge.to_dict(),
            "reader": repr((reader.sampling, reader.transform, reader.max_seconds)),
            "dtype": f"{record.dtype} in {record.format}",
            "files": dict(record.files),
        }

    return Embedder(
        reader,
        record.num_channels,
        lambda clips: run(clips.float().cpu())[-1],
        None,
        identity,
        torch.device("cpu"),
        r=record.r,
        encode_texts=(lambda *given: load_texts()(*given)) if record.reads_texts else None,
        sees_frames=record.sees_frames,
    )


def validate_weights(model: nn.Module, sha256: str, name: str) -> None:
    """Check that a model is the one that was exported.

    Raises:
        ValueError: If it has other weights.
    """
    if module_sha256(model) != sha256:
        raise ValueError(
            f"`model` must still have the weights that were exported, to encode texts, got others "
            f"in {name!r}. Export it again."
        )


def _load(spec: ModelSpec) -> tuple[ExportRecord, Run]:
    """Read the record of an exported file, and load its graph.

    Raises:
        ValueError: If the spec asks for what the graph cannot do, or a file is damaged.
        ImportError: If the engine is not installed.
        OSError: If a file is missing.
    """
    assert spec.model is not None
    path = Path(spec.model).resolve()  # as the export was written
    record = read_record(path)
    for name in ("arch", "tokenizer", "frames"):
        if getattr(spec, name) is not None:
            raise ValueError(
                f"`{name}` must be left out with an exported model, got {getattr(spec, name)!r}: "
                "it was chosen when the model was exported. Leave it out."
            )
    if spec.dtype not in ("auto", record.dtype):
        raise ValueError(
            f"`dtype` must be auto or {record.dtype} for {spec.name!r}, which was exported so, "
            f"got {spec.dtype!r}. Leave it out, or export it with that dtype."
        )
    if spec.device != "auto" and resolve_device(spec.device).type != "cpu":
        raise ValueError(
            f"`device` must be auto or cpu for an exported model, got {spec.device!r}. Leave it "
            "out."
        )
    record.validate_files(path)
    return record, load_graph(path, record.format, record.dtype)
