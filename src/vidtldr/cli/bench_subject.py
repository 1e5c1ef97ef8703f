"""Load the model that `bench latency` and `bench memory` time."""

from dataclasses import dataclass
from typing import Literal

import torch

from vidtldr.bench.subject import BUILT_IN, Subject, build_subject, scaled_schedule
from vidtldr.cli.load_pretrained import load_pretrained
from vidtldr.cli.load_umt_model import notes_on_stderr, read_source
from vidtldr.cli.umt_options import UMTOptions
from vidtldr.models.umt.checkpoint import load_umt
from vidtldr.tasks.pretrained import resolve_device

__all__ = ["SubjectName", "load_subject"]


@dataclass(frozen=True)
class SubjectName:
    """A model at one size, as it was typed; what a process of its own is told.

    Attributes:
        model: As for `--model`.
        arch: As for `--arch`.
        num_frames: Frames; None for the model's own.
        image_size: Side of a frame, pixels; None for the model's own.
        device: Where.
    """

    model: str
    arch: str | None
    num_frames: int | None
    image_size: int | None
    device: Literal["auto", "cpu", "cuda", "mps"]


def load_subject(name: SubjectName) -> Subject:
    """Load the model in float32, ready on its device.

    Raises:
        ValueError, TypeError, NotImplementedError, OSError, ImportError: With what is wrong and
            what to do.
    """
    device = resolve_device(name.device)
    if name.model in BUILT_IN:
        subject = build_subject(name.model, name.num_frames, name.image_size)
    elif name.image_size is not None:
        raise ValueError(
            f"--sizes must be left out for weights that are loaded, got {name.image_size}: they "
            f"have one size. Leave it out, or time one of {', '.join(BUILT_IN)}."
        )
    elif name.model.startswith("umt:"):
        subject = _load_umt(name)
    elif name.num_frames is not None:
        raise ValueError(
            f"--frames must be left out for a model of transformers, got {name.num_frames}: its "
            "positions are for its own number. Leave it out."
        )
    else:
        subject = _load_classifier(name)
    subject.model.to(device)
    return subject


def _load_umt(name: SubjectName) -> Subject:
    options = UMTOptions(model=name.model, arch=name.arch, frames=name.num_frames)
    source = read_source(options)
    with notes_on_stderr():
        umt = load_umt(source.weights, config=source.config, tokenizer=source.tokenizer)
    encoder, config = umt.vision_encoder.float().eval(), source.config
    shape = (config.num_frames, 3, config.image_size, config.image_size)
    own = BUILT_IN["umt-l16" if len(encoder.blocks) > 12 else "umt-b16"]
    return Subject(encoder, shape, scaled_schedule(encoder, own.r, own.num_tokens))


def _load_classifier(name: SubjectName) -> Subject:
    options = UMTOptions(model=name.model, device="cpu", dtype="float32")
    pretrained = load_pretrained(options, None, None)
    side = int(pretrained.model.config.image_size)  # type: ignore[arg-type,union-attr]
    shape = (pretrained.num_frames, 3, side, side)
    model = pretrained.model.to(torch.float32)
    return Subject(model, shape, scaled_schedule(model))
