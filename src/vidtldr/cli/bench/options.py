"""Options of `vidtldr bench`; does not import torch."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import typer

from vidtldr.cli.output_options import Reads
from vidtldr.cli.run_options import MAX_FRAMES, MAX_THREADS, DeviceOption
from vidtldr.cli.typed_values import parse_counts
from vidtldr.tasks.model_spec import DTYPE_NAMES, canonical_dtype

__all__ = [
    "BUILT_IN_NAMES",
    "MAX_ATTENTION_TOKENS",
    "MAX_WIDTH",
    "QualityShapesOptions",
    "ShapesOptions",
    "SpeedOptions",
    "parse_dtypes",
    "positive_counts",
    "validate_weights",
]

BUILT_IN_NAMES = (
    "umt-b16",
    "umt-l16",
    "videomae-b",
    "videomae-l",
    "vjepa2-l",
    "vit-b",
    "clip-b16",
    "siglip-b16",
    "dinov2-b14",
)
MAX_CLIPS = 10_000
_MAX_BATCH = 2**31 - 1  # what there is no memory for is named, and the rest measured
MAX_SEED = 2**31 - 1
MAX_SIDE = 16384  # pixels
MAX_ATTENTION_TOKENS = 2**18  # of one attention, not of a model
MAX_WIDTH = 1024  # heads, and channels of one


@dataclass(frozen=True)
class ShapesOptions:
    """Which clips of the world of shapes, and where to run, as typed."""

    clips: Annotated[int, typer.Option(min=1, max=MAX_CLIPS, help="Clips for each seed.")] = 300
    seeds: Annotated[str, typer.Option(help="Seeds of the generated world, comma-separated.")] = (
        "0,1,2"
    )
    split: Annotated[
        Literal["test", "validation", "unseen"],
        typer.Option(help="Split of the generated world; settings are chosen on validation only."),
    ] = "test"
    device: DeviceOption = "auto"
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks of errors.")] = False

    def parse_seeds(self) -> tuple[int, ...]:
        """Parse the seeds.

        Raises:
            ValueError: If one is not an integer in [0, 2147483647] or is repeated.
        """
        seeds = tuple(parse_counts("--seeds", self.seeds))
        if min(seeds) < 0 or max(seeds) > MAX_SEED or len(set(seeds)) < len(seeds):
            raise ValueError(
                f"--seeds must be different numbers in [0, {MAX_SEED}], got {self.seeds!r}. Write "
                "0,1,2."
            )
        return seeds


@dataclass(frozen=True)
class QualityShapesOptions(ShapesOptions):
    """The same, with as many clips by default as it takes to tell methods apart."""

    clips: Annotated[
        int,
        typer.Option(
            min=1, max=MAX_CLIPS, help="Clips for each seed, and so the size of the gallery."
        ),
    ] = 1000


def validate_weights(files: Iterable[Path]) -> None:
    """Check that weights files exist.

    Raises:
        FileNotFoundError: If one does not.
    """
    for file in files:
        if not file.is_file():
            raise FileNotFoundError(
                f"--weights must be an existing file, got {str(file)!r}. Check the path."
            )


def positive_counts(name: str, typed: str, most: int) -> list[int]:
    """Parse distinct comma-separated positive integers.

    Raises:
        ValueError: If an entry is not an integer in [1, `most`].
    """
    counts = parse_counts(name, typed)
    if min(counts) < 1:
        raise ValueError(f"{name} must be integers of at least 1, got {typed!r}. Write {name} 1,8.")
    if max(counts) > most:
        raise ValueError(f"{name} must be integers of at most {most}, got {max(counts)}. Lower it.")
    return list(dict.fromkeys(counts))


def parse_dtypes(typed: str) -> list[str]:
    """Parse distinct comma-separated names of dtypes.

    Raises:
        ValueError: If one is unknown.
    """
    try:
        names = [canonical_dtype(name.strip()) for name in typed.split(",")]
    except ValueError:
        names = ["auto"]
    if "auto" in names:
        raise ValueError(
            f"--dtypes must be among {', '.join(DTYPE_NAMES)} (comma-separated), got {typed!r}. "
            "Write --dtypes float32,bfloat16."
        ) from None
    return list(dict.fromkeys(names))


_MOST = {"batches": _MAX_BATCH, "frames": MAX_FRAMES, "sizes": MAX_SIDE}


@dataclass(frozen=True)
class SpeedOptions:
    """Which model and settings to measure, as typed."""

    model: Annotated[
        str,
        Reads(names=BUILT_IN_NAMES),
        typer.Option(
            help=f"{', '.join(BUILT_IN_NAMES)}: sizes with random weights; or a model as in "
            "classify and embed."
        ),
    ] = "umt-b16"
    arch: Annotated[
        str | None,
        Reads(names=("b16", "l16")),
        typer.Option(help="Sizes of a umt: checkpoint: b16 (the default), l16 or a JSON file."),
    ] = None
    batches: Annotated[str, typer.Option(help="Batch sizes: 1,8,20.")] = "1"
    dtypes: Annotated[str, typer.Option(help="Dtypes of weights and input: float32,bfloat16.")] = (
        "float32"
    )
    frames: Annotated[
        str | None, typer.Option(help="Frames per clip: 4,12; default: the model's own.")
    ] = None
    sizes: Annotated[
        str | None,
        typer.Option(help="Frame sizes in pixels: 224,336; default: the model's own."),
    ] = None
    baselines: Annotated[
        str | None,
        typer.Option(
            help='What to compare, separated by semicolons: "merged;ToMe"; default: all.',
            show_default=False,
        ),
    ] = None
    compiled: Annotated[
        bool, typer.Option("--compile", help="Compare compiled models as well.")
    ] = False
    device: DeviceOption = "auto"
    threads: Annotated[
        int | None,
        typer.Option(min=1, max=MAX_THREADS, help="CPU threads; default: torch's choice."),
    ] = None
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks of errors.")] = False

    def validate(self) -> None:
        """Check what can be checked without torch.

        Raises:
            ValueError: If a list is malformed.
        """
        for name in ("batches", "frames", "sizes"):
            self.counts(name)
        self.parse_dtypes()

    def counts(self, name: str) -> list[int] | list[None]:
        """Return the numbers of an option; a single None if it was not typed.

        Raises:
            ValueError: If an entry is not a positive integer.
        """
        typed: str | None = getattr(self, name)
        if typed is None:
            return [None]
        return positive_counts(f"--{name}", typed, _MOST[name])

    def parse_dtypes(self) -> list[str]:
        """Return the names of the dtypes.

        Raises:
            ValueError: If one is unknown.
        """
        return parse_dtypes(self.dtypes)

    def parse_baselines(self) -> list[str] | None:
        """Return the names of the variants to compare; None for all."""
        if self.baselines is None:
            return None
        return [name.strip() for name in self.baselines.split(";")]
