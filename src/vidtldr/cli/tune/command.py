"""`vidtldr tune`: choose how a model merges, on the user's own videos."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, get_args

import typer

from vidtldr.cli.errors import SOME_INPUTS_FAILED, clear_errors
from vidtldr.cli.model_options import ModelOptions
from vidtldr.cli.output_options import (
    JSON_FILE,
    Output,
    Reads,
    ReportOption,
    ResultOptions,
    Writes,
    validate_outputs,
)
from vidtldr.cli.run_options import (
    MAX_ROUNDS,
    RunOptions,
    VideosArgument,
    find_videos,
    spread_options,
)
from vidtldr.cli.typed_values import parse_number
from vidtldr.config_file import CONFIG_FILE
from vidtldr.files import is_stream
from vidtldr.tasks.labels import parse_labels
from vidtldr.tune.target import Target

__all__ = ["Compared", "TuneFiles", "parse_compared", "parse_target", "tune"]

SCHEDULE = Path(CONFIG_FILE)
ComparedName = Literal["feature-cosine", "labels", "retrieval"]


class Compared(NamedTuple):
    """How drift is measured, with the file of captions, as typed, or the labels that this needs."""

    name: ComparedName
    file: str | None = None
    labels: tuple[str, ...] | None = None


@dataclass(frozen=True)
class TuneFiles:
    """What to write, as typed."""

    panel: ClassVar = "Output"

    output: Annotated[
        Path,
        Writes(),
        typer.Option(
            "--output",
            "-o",
            metavar="JSON",
            help="Schedule to write, with the kind of model and what was measured, for --schedule "
            "of every command; - is standard output. A link is followed.",
        ),
    ] = SCHEDULE
    plot: Annotated[
        Path | None,
        Writes(),
        typer.Option(
            metavar="FILE",
            help="Draw FILE.png and FILE.svg; default: next to the schedule.",
            show_default=False,
        ),
    ] = None
    report: ReportOption = None

    @property
    def is_drawing_asked(self) -> bool:
        """Whether a --plot or --report is requested."""
        return self.plot is not None or self.report is not None

    @property
    def trials(self) -> Path:
        """File of the trials, from which the next run resumes."""
        return self._named.parent / f"{self._named.stem}.trials.jsonl"

    @property
    def _named(self) -> Path:
        """The schedule's file, beside which others lie; the default one if it is no file."""
        return SCHEDULE if is_stream(self.output) else self.output

    def validate(self, videos: Sequence[str]) -> None:
        """Check that every output can be written.

        Args:
            videos: Files that are read.

        Raises:
            ValueError: As `validate_outputs`.
        """
        kept = [Output(self.output, endings=JSON_FILE), Output(self.trials, "what is tried")]
        validate_outputs(kept)
        results = self.results(as_json=False)
        results.validate()
        validate_outputs([*kept, *results.outputs()], videos)

    def results(self, *, as_json: bool) -> ResultOptions:
        """Return the outputs other than the schedule, as options of benchmarks."""
        plot = self._named if self.plot is None else self.plot
        return ResultOptions(plot=plot, report=self.report, as_json=as_json)


def parse_target(typed: str) -> Target:
    """Parse a figure and its value: `speedup=1.8`.

    Raises:
        ValueError: If it is malformed; the message lists the figures.
    """
    name, _, value = typed.partition("=")
    target: Any = name.strip()
    try:
        number = parse_number(value, "x" if target == "speedup" else "%")
    except ValueError:
        raise ValueError(
            f"--target must be speedup=, drift= or flop-ratio= and a number, got {typed!r}. Write "
            "--target speedup=1.8."
        ) from None
    return Target(target, number)


def parse_compared(typed: str, spec: ModelOptions) -> Compared:
    """Parse how to measure drift: `feature-cosine`, `labels=FILE` or `retrieval=FILE`.

    Raises:
        ValueError: If it is none of them, or does not apply to this model.
    """
    name, equals, file = typed.partition("=")
    known: Any = name.strip()
    is_empty = bool(equals) and not file
    if known not in get_args(ComparedName) or is_empty or (known == "feature-cosine" and file):
        raise ValueError(
            f"--drift-by must be one of feature-cosine, labels=FILE and retrieval=FILE, got "
            f"{typed!r}. Write --drift-by feature-cosine."
        )
    if known == "retrieval" and not Path(file).is_file():
        raise ValueError(
            f"--drift-by retrieval must have a JSON file of captions, got {file!r}. Write "
            "--drift-by retrieval=captions.json."
        )
    if known == "labels" and not file and spec.is_umt and not spec.is_bundled:
        raise ValueError(
            "--drift-by labels must have labels for --model umt:CHECKPOINT, got none. Write "
            "--drift-by labels='yoga,reading book' or labels=FILE."
        )
    if known == "labels":
        return Compared(known, labels=parse_labels(file) if file else None)
    return Compared(known, file or None)


@spread_options
def tune(
    videos: VideosArgument,
    *,
    spec: ModelOptions,
    target: Annotated[
        str,
        typer.Option(
            help="speedup=1.8 (least drift at that speed), "
            "drift=0.02 (fastest within that drift on the search clips) or "
            "flop-ratio=0.6 (least drift at that cost)."
        ),
    ] = "drift=0.02",
    drift_by: Annotated[
        str,
        Reads(),
        typer.Option(
            help="What drift is: feature-cosine, 1 minus the cosine of features; labels=FILE or "
            "labels=a,b, how much of the probability of labels moves (a classifier has its own: "
            "labels); retrieval=FILE, the same of captions, for umt:."
        ),
    ] = "feature-cosine",
    rounds: Annotated[
        int,
        typer.Option(
            min=1,
            max=MAX_ROUNDS,
            help="Timed runs of the best settings, alternating with the unmerged model.",
        ),
    ] = 5,
    files: TuneFiles,
    run: RunOptions,
) -> None:
    """Find how a model merges best on your own unlabelled videos, and write a schedule.

    Half of the clips are for the search: every score is tried in several layers, those that drift
    least from the unmerged model are varied further, and the best are timed. The other half is held
    out until all is chosen; the reported drift is measured on it. Give eight clips or more. The
    table and the plot also show the paper's setting, ToMe and random dropping. Trials are saved
    beside the schedule: stop at any time, and the same command resumes.

    Example: vidtldr tune a.mp4 b.mp4 --model DIR --target flop-ratio=0.6

    Exit codes: 0 written (with a note if --target drift= is missed on the held-out clips), 1 some
    videos failed or a --plot or --report could not be made, 2 nothing could start or the target is
    not met.
    """
    with clear_errors(run.debug, lambda: _what_is_kept(files)):
        wanted, compared = parse_target(target), parse_compared(drift_by, spec)
        found = find_videos(videos)
        files.validate(found)
        spec.validate()
        from vidtldr.cli.tune.run import run_tuning

        is_whole = run_tuning(found, spec, wanted, compared, files, run, num_rounds=rounds)
    if not is_whole:
        raise typer.Exit(SOME_INPUTS_FAILED)


def _what_is_kept(files: TuneFiles) -> str:
    if not files.trials.exists():
        return "nothing was tried yet"
    return f"{str(files.trials)!r} keeps the finished trials. Run the same command again to resume"
