"""`vidtldr classify`: what videos show, and with `--compare` what merging gains."""

from typing import Annotated, Literal

import typer

from vidtldr.cli.errors import SOME_INPUTS_FAILED, clear_errors
from vidtldr.cli.merge_options import MergeOptions
from vidtldr.cli.run_options import CompareOption, CompileOption, RunOptions, VideosArgument
from vidtldr.cli.spread_options import spread_options
from vidtldr.cli.umt_options import UMTOptions

__all__ = ["classify"]


@spread_options
def classify(
    videos: VideosArgument,
    *,
    umt: UMTOptions,
    merging: MergeOptions,
    compare: CompareOption = False,
    repeats: Annotated[int, typer.Option(min=1, help="Timed runs of each side of --compare.")] = 5,
    top: Annotated[int, typer.Option(min=1, help="Labels to show.")] = 5,
    labels: Annotated[
        str | None,
        typer.Option(
            help="A file or a comma list of labels instead of the model's own; a umt: model has "
            "none."
        ),
    ] = None,
    sampling: Annotated[
        Literal["middle", "dense"],
        typer.Option(help="Frames from the whole video, or a window in its middle."),
    ] = "middle",
    stride: Annotated[
        int, typer.Option(min=1, help="Step between the frames of dense sampling.")
    ] = 4,
    compiled: CompileOption = False,
    run: RunOptions,
) -> None:
    """Say what videos show; with --flop-ratio, --r or --preset, faster.

    A umt: model takes any labels and compares the video with their texts. A video that cannot be
    read does not stop the others: its row has the error.

    Exit codes: 0 all answered, 1 some videos failed, 2 nothing could start.
    """
    with clear_errors(run.debug):
        merge = merging.parse_for_compare(compare)
        if compare and compiled:
            raise ValueError(
                "--compile must be left out with --compare, which looks into both models, got "
                "both. Compare compiled models with vidtldr bench latency --compile."
            )
        _validate_model(umt, labels, merging.preset)
        # Torch loads here, after what can be checked without it.
        from vidtldr.cli.classify_output import JsonOutput, TableOutput
        from vidtldr.cli.classify_videos import prepare_job, run_job
        from vidtldr.cli.load_pretrained import load_pretrained

        job = prepare_job(
            load_pretrained(umt, labels, merging.preset),
            config=merge,
            num_repeats=repeats if compare else None,
            sampling=sampling,
            stride=stride,
            time_limit_seconds=run.time_limit,
            compiled=compiled,
        )
        output = (JsonOutput if run.as_json else TableOutput)(job.pretrained.labels, top)
        outcomes = run_job(job, videos, output.show)
        output.close(outcomes)
    if any(outcome.error is not None for outcome in outcomes):
        raise typer.Exit(SOME_INPUTS_FAILED)


def _validate_model(umt: UMTOptions, labels: str | None, preset: str | None) -> None:
    if not umt.is_umt:
        umt.validate_for_classifier(preset)
    elif umt.checkpoint and labels is None and not umt.is_bundled:
        raise ValueError(
            "--labels must be given with --model umt:CHECKPOINT, got none. Add --labels "
            "'yoga,reading book'."
        )
