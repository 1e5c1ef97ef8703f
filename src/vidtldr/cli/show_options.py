"""Options of `vidtldr show` alone: what to ask and what to write; no torch here."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, NamedTuple

import typer

from vidtldr.cli.umt_options import UMTOptions
from vidtldr.cli.write_output import validate_keeps_inputs, validate_output

__all__ = ["AskedOptions", "ShownFiles", "WantedFiles"]

VIDEO_ENDINGS = (".mp4", ".gif")


class WantedFiles(NamedTuple):
    """What to write; None is not wanted."""

    report: Path | None
    images: Path | None
    video: Path | None

    @property
    def num_files(self) -> int:
        """How many of the three are wanted."""
        return sum(path is not None for path in self)


@dataclass(frozen=True)
class ShownFiles:
    """Where to write, as it was typed."""

    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="HTML",
            help="The page; report.html if nothing else is to be written.",
            show_default=False,
        ),
    ] = None
    images: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Write contact-sheet.png and features.png here.", show_default=False
        ),
    ] = None
    video_file: Annotated[
        Path | None,
        typer.Option(
            "--video",
            metavar="FILE",
            help="Write the whole clip with saliency and groups over it: .mp4 or .gif.",
            show_default=False,
        ),
    ] = None

    def parse(self, shown: str) -> WantedFiles:
        """What is wanted.

        Args:
            shown: The video that is read.

        Raises:
            ValueError: If a place cannot be written to or is the video that is read, or the
                video's ending is another one.
        """
        report = self.output
        if report is None and self.images is None and self.video_file is None:
            report = Path("report.html")
        if report is not None:
            validate_output(report)
            validate_keeps_inputs([(report, "--output")], [shown])
        if self.images is not None and self.images.exists() and not self.images.is_dir():
            raise ValueError(
                f"--images must be a directory, got the file {str(self.images)!r}. Name another."
            )
        if self.video_file is not None:
            validate_output(self.video_file, "--video")
            validate_keeps_inputs([(self.video_file, "--video")], [shown])
            if self.video_file.suffix.lower() not in VIDEO_ENDINGS:
                raise ValueError(
                    f"--video must end in {' or '.join(VIDEO_ENDINGS)}, got "
                    f"{str(self.video_file)!r}. Rename it."
                )
        return WantedFiles(report, self.images, self.video_file)


@dataclass(frozen=True)
class AskedOptions:
    """What the answers of the page are about, as it was typed."""

    labels: Annotated[
        str | None,
        typer.Option(
            help="Answers to show: a file or a comma list of labels; the bundled model and "
            "classifiers have some.",
            show_default=False,
        ),
    ] = None
    text: Annotated[
        list[str] | None,
        typer.Option(
            help="Instead: how well this text fits; once for each text.", show_default=False
        ),
    ] = None
    question: Annotated[
        str | None, typer.Option(help="Instead: the answers to this.", show_default=False)
    ] = None
    answers: Annotated[
        str | None,
        typer.Option(
            help="Candidates for --question: a JSON file or a comma list; the bundled model has "
            "some.",
            show_default=False,
        ),
    ] = None
    top: Annotated[int, typer.Option(min=1, help="Answers to show.")] = 5

    def validate(self, umt: UMTOptions, preset: str | None) -> None:
        """Refuse what does not fit the model or each other.

        Raises:
            ValueError: If it does not; names the option.
            FileNotFoundError: If no checkpoint is there.
        """
        given = [n for n in ("labels", "text", "question") if getattr(self, n) is not None]
        if len(given) > 1:
            raise ValueError(
                f"--labels, --text and --question must be given one at a time, got --{given[0]} "
                f"and --{given[1]}. Show the video twice."
            )
        if self.answers is not None and self.question is None:
            raise ValueError("--answers must come with --question, got none. Add a question.")
        if not umt.is_umt:
            umt.validate_for_classifier(preset)
            if given and given[0] != "labels":
                raise ValueError(
                    f"--{given[0]} must come with --model umt:CHECKPOINT, as only UMT reads "
                    f"texts, got --model {umt.model!r}. Leave it out."
                )
        elif umt.checkpoint and not given and not umt.is_bundled:
            raise ValueError(
                "--labels, --text or --question must be given with --model umt:CHECKPOINT, got "
                "none. Add --labels 'yoga,reading book'."
            )
