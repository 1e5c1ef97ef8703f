"""`vidtldr show`: visualize what was merged in a video."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, NamedTuple

import typer

from vidtldr.cli.errors import SOME_INPUTS_FAILED, clear_errors
from vidtldr.cli.merge_options import MergeOptions
from vidtldr.cli.model_options import ModelOptions
from vidtldr.cli.output_options import HTML_FILE, Output, Reads, Writes, validate_outputs
from vidtldr.cli.run_options import (
    MAX_ROUNDS,
    RunOptions,
    spread_options,
    validate_text,
    validate_video,
)
from vidtldr.tasks.labels import parse_labels
from vidtldr.visualize.report_extra import validate_report_extra

__all__ = ["AskedOptions", "ShownFiles", "WantedFiles", "show"]

VIDEO_ENDINGS = (".mp4", ".gif")
IMAGE_NAMES = ("contact-sheet.png", "features.png")


class WantedFiles(NamedTuple):
    """The files to write; None for those not wanted."""

    report: Path | None
    images: Path | None
    video: Path | None

    @property
    def num_pages(self) -> int:
        """Number of wanted outputs other than the video."""
        return sum(path is not None for path in (self.report, self.images))


@dataclass(frozen=True)
class ShownFiles:
    """Where to write, as typed."""

    panel: ClassVar = "Output"

    output: Annotated[
        Path | None,
        Writes(),
        typer.Option(
            "--output",
            "-o",
            metavar="HTML",
            help="HTML report; report.html if no other output is requested; - is standard output.",
            show_default=False,
        ),
    ] = None
    images: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Directory for contact-sheet.png and features.png.",
            show_default=False,
        ),
    ] = None
    video_file: Annotated[
        Path | None,
        Writes(),
        typer.Option(
            "--video",
            metavar="FILE",
            help="Write the whole clip with merged groups over it, and saliency if there is a "
            "score: .mp4 or .gif.",
            show_default=False,
        ),
    ] = None

    def parse(self) -> WantedFiles:
        """Return the files to write.

        Raises:
            ValueError: As `validate_outputs`, or if `--images` is a file, or the ending of the
                video is missing.
        """
        report = self.output
        if report is None and self.images is None and self.video_file is None:
            report = Path("report.html")
        outputs = [] if report is None else [Output(report, endings=HTML_FILE)]
        if self.images is not None and self.images.exists() and not self.images.is_dir():
            raise ValueError(
                f"--images must be a directory, got the file {str(self.images)!r}. Name another."
            )
        if self.images is not None and self.images.exists():
            outputs += [Output(self.images / name, "--images") for name in IMAGE_NAMES]
        if self.video_file is not None:
            outputs.append(Output(self.video_file, "--video"))
            if self.video_file.suffix.lower() not in VIDEO_ENDINGS:
                raise ValueError(
                    f"--video must end in {' or '.join(VIDEO_ENDINGS)}, got "
                    f"{str(self.video_file)!r}. Rename it."
                )
        validate_outputs(outputs)
        return WantedFiles(report, self.images, self.video_file)


@dataclass(frozen=True)
class AskedOptions:
    """The labels, texts or question that the page shows answers for, as typed."""

    labels: Annotated[
        str | None,
        Reads(),
        typer.Option(
            help="Answers to show: a file or a comma list of labels; the bundled model and "
            "classifiers have some.",
            show_default=False,
        ),
    ] = None
    text: Annotated[
        list[str] | None,
        typer.Option(
            help="Show how well this text matches instead; repeat for several texts.",
            show_default=False,
        ),
    ] = None
    question: Annotated[
        str | None,
        typer.Option(help="Show the answers to this question instead.", show_default=False),
    ] = None
    answers: Annotated[
        str | None,
        Reads(),
        typer.Option(
            help="Candidates for --question: a JSON file or a comma list; the bundled model has "
            "some.",
            show_default=False,
        ),
    ] = None
    top: Annotated[int, typer.Option(min=1, help="Answers to show.")] = 5

    @property
    def label_names(self) -> tuple[str, ...] | None:
        """The labels, read from their file or list; None for the model's own.

        Raises:
            ValueError: As `parse_labels`.
        """
        return None if self.labels is None else parse_labels(self.labels)

    def validate(self, spec: ModelOptions) -> None:
        """Check that the options fit the model and each other.

        Raises:
            ValueError: If they do not; names the option.
            FileNotFoundError: If the checkpoint does not exist.
        """
        given = [n for n in ("labels", "text", "question") if getattr(self, n) is not None]
        if len(given) > 1:
            raise ValueError(
                f"--labels, --text and --question must be given one at a time, got --{given[0]} "
                f"and --{given[1]}. Show the video twice."
            )
        _ = self.label_names
        for text in self.text or []:
            validate_text(text, "--text", "--text 'a red star'")
        if self.question is not None:
            validate_text(self.question, "--question", "--question 'what colour is it?'")
        if self.answers is not None and self.question is None:
            raise ValueError("--answers must come with --question, got none. Add a question.")
        spec.validate()
        if not spec.is_umt and self.question is not None:
            raise ValueError(
                "--question must come with --model umt:CHECKPOINT, as only UMT answers questions, "
                f"got --model {spec.model!r}. Leave it out."
            )
        if spec.is_umt and not given and not spec.is_bundled:
            raise ValueError(
                "--labels, --text or --question must be given with --model umt:CHECKPOINT, got "
                "none. Add --labels 'yoga,reading book'."
            )


@spread_options
def show(
    video: Annotated[str, Reads(), typer.Argument(help="A video file.", show_default=False)],
    *,
    spec: ModelOptions,
    merging: MergeOptions,
    files: ShownFiles,
    layer: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Merging layer to draw, counted from 0; the report shows it first. Default: the "
            "last.",
            show_default=False,
        ),
    ] = None,
    asked: AskedOptions,
    rounds: Annotated[
        int, typer.Option(min=1, max=MAX_ROUNDS, help="Timed runs of each model.")
    ] = 5,
    run: RunOptions,
) -> None:
    """Show what was merged in a video: an interactive page, images, a video.

    The page is self-contained: unmerged, merged, and another method at the same number of tokens,
    with merged groups and features of every frame, and with a score (--score sharpness) saliency
    and background. By default the model merges to 0.6 of its FLOPs, the bundled one by its own
    preset.

    Example: vidtldr show clip.mp4 --model umt:k400.pth --labels yoga,cooking --flop-ratio 0.6

    Exit codes: 0 written, 1 the video failed, 2 nothing could start.
    """
    with clear_errors(run.debug):
        merge = merging.parse(spec, must_merge=True)
        assert merge is not None
        validate_video(video)
        asked.validate(spec)
        wanted = files.parse()
        if wanted.report is not None:
            validate_report_extra()
        from vidtldr.cli.show.output import print_json, print_table
        from vidtldr.cli.show.run import Shown, prepare_show, show_video
        from vidtldr.cli.show.subject import load_subject
        from vidtldr.cli.terminal import phases

        job = prepare_show(load_subject(spec, asked), merge, layer, rounds)
        with phases() as on_step:
            shown = show_video(job, video, spec.name, wanted, run.time_limit, on_step)
        (print_json if run.as_json else print_table)(video, shown)
    if not isinstance(shown, Shown):
        raise typer.Exit(SOME_INPUTS_FAILED)
