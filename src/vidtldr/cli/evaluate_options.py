"""Options that all of `vidtldr evaluate` share; no torch here."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import typer

from vidtldr.cli.run_options import CacheOption, CompareOption
from vidtldr.cli.write_output import validate_cache, validate_keeps_inputs, validate_output

__all__ = ["AnnotationsOption", "EvaluateOptions"]

AnnotationsOption = Annotated[
    Path, typer.Option(metavar="JSON", help="Annotations as published.", show_default=False)
]


@dataclass(frozen=True)
class EvaluateOptions:
    """How to evaluate, as it was typed."""

    videos: Annotated[
        Path, typer.Option(metavar="DIR", help="Directory of the videos.", show_default=False)
    ]
    compare: CompareOption = False
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Write the whole result as JSON."),
    ] = None
    cache: CacheOption = None
    autocast: Annotated[
        Literal["none", "float16", "bfloat16"],
        typer.Option(help="Half type to compute in; the paper's protocol takes float16 on a GPU."),
    ] = "none"
    batch: Annotated[int, typer.Option(min=1, help="Videos to encode at once.")] = 1
    readers: Annotated[int, typer.Option(min=1, help="Threads that read videos.")] = 2

    def validate(self, annotations: Path) -> None:
        """Refuse what cannot be, before a model is loaded.

        Args:
            annotations: The file that is read.

        Raises:
            ValueError: If the output cannot be written or is what is read, or the cache is a file.
        """
        validate_cache(self.cache)
        if self.output is not None:
            validate_output(self.output)
            validate_keeps_inputs([(self.output, "--output")], [annotations])
