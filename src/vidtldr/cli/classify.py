"""`vidtldr classify`: what videos show, and with `--compare` what merging gains."""

from typing import Annotated, Literal

import typer

from vidtldr.cli.errors import SOME_INPUTS_FAILED, clear_errors
from vidtldr.cli.schedule import parse_schedule

__all__ = ["classify"]


def classify(
    videos: Annotated[
        list[str], typer.Argument(metavar="VIDEO", help="Video files.", show_default=False)
    ],
    model: Annotated[
        str, typer.Option(help="Directory or hub id of a video classifier.", show_default=False)
    ],
    r: Annotated[
        str | None, typer.Option(help="Tokens to remove in each layer: 600,200,100.")
    ] = None,
    ratio: Annotated[
        str | None, typer.Option(help="The same as shares, up to 0.5: 0.25,0.1.")
    ] = None,
    score: Annotated[
        Literal["sharpness", "received", "none"],
        typer.Option(help="What makes a token foreground."),
    ] = "sharpness",
    metric: Annotated[
        Literal["x", "keys"], typer.Option(help="What is compared to pair tokens.")
    ] = "x",
    compare: Annotated[
        bool, typer.Option("--compare", help="Run unmerged and merged, and show both.")
    ] = False,
    repeats: Annotated[int, typer.Option(min=1, help="Timed runs of each side of --compare.")] = 5,
    top: Annotated[int, typer.Option(min=1, help="Labels to show.")] = 5,
    labels: Annotated[
        str | None,
        typer.Option(help="Labels instead of the model's: a file or a comma list."),
    ] = None,
    sampling: Annotated[
        Literal["middle", "dense"],
        typer.Option(help="Frames from the whole video, or a window in its middle."),
    ] = "middle",
    stride: Annotated[
        int, typer.Option(min=1, help="Step between the frames of dense sampling.")
    ] = 4,
    device: Annotated[
        Literal["auto", "cpu", "cuda", "mps"], typer.Option(help="Where to run.")
    ] = "auto",
    dtype: Annotated[
        Literal["auto", "float32", "bfloat16", "float16"],
        typer.Option(help="Type of the weights; auto is the checkpoint's."),
    ] = "auto",
    time_limit: Annotated[
        float,
        typer.Option(min=0.001, metavar="SECONDS", help="Give up reading a video after this."),
    ] = 120.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object a video.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Say what videos show; with --r or --ratio, faster.

    A video that cannot be read does not stop the others: its row has the error.

    Exit codes: 0 all answered, 1 some videos failed, 2 nothing could start.
    """
    with clear_errors(debug):
        config = parse_schedule(r, ratio, score=None if score == "none" else score, metric=metric)
        if compare and config is None:
            raise ValueError(
                "--compare must come with a schedule, got neither --r nor --ratio. "
                "Add --r 600,200,100."
            )
        # Torch loads here, after what can be checked without it.
        from vidtldr.cli.classify_output import JsonOutput, TableOutput
        from vidtldr.cli.classify_videos import load_job, run_job

        job = load_job(
            model,
            labels=labels,
            device=device,
            dtype=dtype,
            config=config,
            num_repeats=repeats if compare else None,
            sampling=sampling,
            stride=stride,
            time_limit_seconds=time_limit,
        )
        output = (JsonOutput if as_json else TableOutput)(job.pretrained.labels, top)
        outcomes = run_job(job, videos, output.show)
        output.close(outcomes)
    if any(outcome.error is not None for outcome in outcomes):
        raise typer.Exit(SOME_INPUTS_FAILED)
