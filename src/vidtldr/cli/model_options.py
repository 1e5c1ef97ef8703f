"""Options for which model to load; does not import torch."""

from dataclasses import dataclass, fields
from typing import Annotated, ClassVar

import typer

from vidtldr.cli.output_options import Reads
from vidtldr.cli.run_options import MAX_FRAMES, DeviceOption, DtypeOption
from vidtldr.tasks.model_spec import ModelSpec

__all__ = ["LabelsOption", "ModelOptions", "TemplateOption"]


LabelsOption = Annotated[
    str | None,
    Reads(),
    typer.Option(
        help="A file or a comma list of labels instead of the model's own; models that read texts "
        "(umt:, CLIP, SigLIP, X-CLIP) need one."
    ),
]
TemplateOption = Annotated[
    str | None,
    typer.Option(
        help="Prompt for each label, for a model that reads texts; default: 'a video of {}', for "
        "umt: just the label.",
        show_default=False,
    ),
]


@dataclass(frozen=True)
class ModelOptions(ModelSpec):
    """Which model, as typed: the fields of `ModelSpec` as options."""

    panel: ClassVar = "Model"

    model: Annotated[
        str | None,
        Reads(),
        typer.Option(
            help="A directory or hub id of transformers: VideoMAE, ViViT, V-JEPA 2, CLIP, SigLIP, "
            "DINOv2 and others; umt:CHECKPOINT.pth, or umt:DIRECTORY of a converted one; for "
            "classify, embed, index and search also a file of vidtldr export. Default: the "
            "bundled shapes model, which knows only coloured shapes.",
            show_default=False,
        ),
    ] = None
    arch: Annotated[
        str | None,
        Reads(names=("b16", "l16")),
        typer.Option(help="Sizes of a umt: checkpoint: b16 (the default), l16 or a JSON file."),
    ] = None
    tokenizer: Annotated[
        str | None,
        Reads(),
        typer.Option(metavar="DIR", help="Tokenizer of a umt: checkpoint; default: BERT's, cached"),
    ] = None
    frames: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=MAX_FRAMES,
            help="Frames of a umt: model (12 fine-tuned, the default; 4 zero-shot), or for an "
            "image or language model (default: 8).",
        ),
    ] = None
    device: DeviceOption = "auto"
    dtype: DtypeOption = "auto"

    def plain(self) -> ModelSpec:
        """Return the plain `ModelSpec`, which can be pickled."""
        return ModelSpec(**{field.name: getattr(self, field.name) for field in fields(ModelSpec)})
