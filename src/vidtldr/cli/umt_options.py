"""Options for which UMT model to load and where to run it; does not import torch."""

from dataclasses import dataclass, fields
from typing import Annotated, ClassVar

import typer

from vidtldr.cli.output_options import Reads
from vidtldr.cli.run_options import DeviceOption, DtypeOption
from vidtldr.tasks.model_spec import ModelSpec

__all__ = ["UMTOptions"]


@dataclass(frozen=True)
class UMTOptions(ModelSpec):
    """Which model, as typed: the fields of `ModelSpec` as options."""

    panel: ClassVar = "Model"

    model: Annotated[
        str | None,
        Reads(),
        typer.Option(
            help="umt:CHECKPOINT.pth, or umt:DIRECTORY of a converted one; classify and embed "
            "also take a directory or hub id of a video classifier of transformers. Default: the "
            "bundled shapes model, which knows coloured shapes alone.",
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
        typer.Option(min=1, help="Frames of a umt: model; 12 fine-tuned (default), 4 zero-shot."),
    ] = None
    device: DeviceOption = "auto"
    dtype: DtypeOption = "auto"

    def spec(self) -> ModelSpec:
        """Return the plain `ModelSpec`, which can be pickled."""
        return ModelSpec(**{field.name: getattr(self, field.name) for field in fields(ModelSpec)})
