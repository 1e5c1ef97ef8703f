"""`vidtldr classify`: label videos, and with `--compare` measure what merging gains."""

from typing import Annotated, Literal

import typer

from vidtldr.cli.errors import SOME_INPUTS_FAILED, clear_errors
from vidtldr.cli.merge_options import MergeOptions
from vidtldr.cli.model_options import LabelsOption, ModelOptions, TemplateOption
from vidtldr.cli.run_options import (
    MAX_ROUNDS,
    CompareOption,
    CompileOption,
    RunOptions,
    VideosArgument,
    find_videos,
    spread_options,
)
from vidtldr.tasks.labels import parse_labels

__all__ = ["classify", "validate_model"]


@spread_options
def classify(
    videos: VideosArgument,
    *,
    spec: ModelOptions,
    merging: MergeOptions,
    compare: CompareOption = False,
    rounds: Annotated[
        int | None,
        typer.Option(
            min=1, max=MAX_ROUNDS, help="Timed runs per model with --compare; default: 5."
        ),
    ] = None,
    top: Annotated[int, typer.Option(min=1, help="Labels to show.")] = 5,
    labels: LabelsOption = None,
    template: TemplateOption = None,
    sampling: Annotated[
        Literal["middle", "dense"],
        typer.Option(help="Sample frames from the whole video, or from a window in its middle."),
    ] = "middle",
    stride: Annotated[
        int | None,
        typer.Option(min=1, help="Step between frames with --sampling dense; default: 4."),
    ] = None,
    compiled: CompileOption = False,
    run: RunOptions,
) -> None:
    """Classify videos; with --flop-ratio, --r or --preset, faster.

    A model that reads texts takes any labels and compares the video with them; SigLIP gives each
    label a probability of its own. An image model sees the frames one by one, and their logits
    are averaged. A video that cannot be read does not stop the others: its row has the error.

    Example: vidtldr classify clip.mp4 --model MCG-NJU/videomae-base-finetuned-kinetics
    --compare

    Exit codes: 0 all classified, 1 some videos failed, 2 nothing could start.
    """
    with clear_errors(run.debug):
        merge = merging.parse(spec, must_merge=compare)
        if compare and compiled:
            raise ValueError(
                "--compile must be left out with --compare, which looks into both models, got "
                "both. Compare compiled models with vidtldr bench latency --compile."
            )
        if spec.is_exported and compiled:
            raise ValueError(
                f"--compile must be left out with an exported model, got {spec.model!r}: it runs "
                "as it was exported. Leave it out."
            )
        if rounds is not None and not compare:
            raise ValueError(
                f"--rounds must come with --compare, got {rounds} alone. Leave it out."
            )
        if stride is not None and sampling != "dense":
            raise ValueError(
                f"--stride must come with --sampling dense, got {stride} alone. Leave it out."
            )
        found = find_videos(videos)
        names = None if labels is None else parse_labels(labels)
        validate_model(spec, labels, takes_exported=True)
        # Import torch only here, after all checks that do not need it.
        from vidtldr.cli.classify.output import JsonOutput, TableOutput
        from vidtldr.cli.classify.run import prepare_job, run_job
        from vidtldr.cli.load_model import load_classifier, say_if_unmerged
        from vidtldr.cli.terminal import compiled_row

        pretrained = load_classifier(spec, names, template)
        job = prepare_job(
            pretrained,
            config=merge,
            num_repeats=(rounds or 5) if compare else None,
            sampling=sampling,
            stride=stride or 4,
            time_limit_seconds=run.time_limit,
            compiled=compiled,
        )
        say_if_unmerged(pretrained.model, merge, spec)
        shown = job.pretrained.labels
        output: JsonOutput | TableOutput = TableOutput(shown, top)
        if run.as_json:
            output = JsonOutput(shown, top, compiled_row(job.compiled))
        outcomes = run_job(job, found, output.show)
        output.close(outcomes)
    if any(outcome.error is not None for outcome in outcomes):
        raise typer.Exit(SOME_INPUTS_FAILED)


def validate_model(spec: ModelOptions, labels: str | None, *, takes_exported: bool = False) -> None:
    """Check without torch that a model can classify.

    Args:
        spec: The model.
        labels: As typed.
        takes_exported: Whether a file of `vidtldr export` will do.

    Raises:
        ValueError, OSError: If it cannot, lacks labels, or has options that are not for it.
    """
    spec.validate(takes_exported=takes_exported)
    if spec.is_umt and labels is None and not spec.is_bundled:
        raise ValueError(
            "--labels must be given with --model umt:CHECKPOINT, got none. Add --labels "
            "'yoga,reading book'."
        )
