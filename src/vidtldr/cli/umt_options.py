"""Options that say which UMT model to load and where to run it; no torch here."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import typer

from vidtldr.shapes.bundled_model import BUNDLED

__all__ = ["PREFIX", "UMTOptions"]

PREFIX = "umt:"


@dataclass(frozen=True)
class UMTOptions:
    """Which model, as it was typed. Where a classifier is meant, it has no `checkpoint`."""

    model: Annotated[
        str | None,
        typer.Option(
            help="umt:CHECKPOINT.pth, or umt:DIRECTORY of a converted one; classify and embed "
            "also take a directory or hub id of a video classifier of transformers. Default: the "
            "bundled shapes model, which knows coloured shapes alone.",
            show_default=False,
        ),
    ] = None
    arch: Annotated[
        str | None,
        typer.Option(help="Sizes of a umt: checkpoint: b16 (the default), l16 or a JSON file."),
    ] = None
    tokenizer: Annotated[
        str | None,
        typer.Option(metavar="DIR", help="Tokenizer of a umt: checkpoint; default: BERT's, cached"),
    ] = None
    frames: Annotated[
        int | None,
        typer.Option(min=1, help="Frames of a umt: model; 12 fine-tuned (default), 4 zero-shot."),
    ] = None
    device: Annotated[Literal["auto", "cpu", "cuda", "mps"], typer.Option(help="Where to run.")] = (
        "auto"
    )
    dtype: Annotated[
        Literal["auto", "float32", "bfloat16", "float16"],
        typer.Option(help="Type of the weights; auto is the checkpoint's."),
    ] = "auto"

    @property
    def is_bundled(self) -> bool:
        """Whether none was named, so that it is the one in the package."""
        return self.model is None

    @property
    def is_umt(self) -> bool:
        """Whether the model is one of ours and not of transformers."""
        return self.model is None or self.model.startswith(PREFIX)

    @property
    def name(self) -> str:
        """What to call the model in a file."""
        return self.model or "bundled shapes model"

    @property
    def checkpoint(self) -> Path:
        """The file or directory behind `umt:`, or the bundled one.

        Raises:
            ValueError: If the model has no such prefix.
            FileNotFoundError: If nothing is there.
        """
        if self.model is None:
            return BUNDLED
        if not self.is_umt:
            raise ValueError(
                "--model must be umt:CHECKPOINT here, as only UMT reads texts, got "
                f"{self.model!r}. For a file or directory of UMT write --model umt:{self.model}."
            )
        path = Path(self.model.removeprefix(PREFIX)).expanduser()
        if self.model == PREFIX or not path.exists():
            raise FileNotFoundError(
                f"--model must be umt: and a file or directory that is there, got {self.model!r}. "
                "Check the path."
            )
        return path

    def validate_for_classifier(self, preset: str | None) -> None:
        """Refuse what is only for UMT.

        Raises:
            ValueError: If it was given.
        """
        for name, value in (
            ("arch", self.arch),
            ("tokenizer", self.tokenizer),
            ("frames", self.frames),
            ("preset", preset),
        ):
            if value is not None:
                raise ValueError(
                    f"--{name} must come with --model umt:CHECKPOINT, got --model {self.model!r}. "
                    "Leave it out."
                )
