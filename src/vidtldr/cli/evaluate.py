"""`vidtldr evaluate`: the paper's retrieval, question answering and multiple choice."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vidtldr.cli.errors import SOME_INPUTS_FAILED, clear_errors
from vidtldr.cli.evaluate_options import AnnotationsOption, EvaluateOptions
from vidtldr.cli.merge_options import MergeOptions
from vidtldr.cli.run_options import RunOptions, what_is_kept
from vidtldr.cli.spread_options import spread_options
from vidtldr.cli.umt_options import UMTOptions
from vidtldr.evaluate.protocols import retrieval_protocol
from vidtldr.hosts.config import MergeConfig

if TYPE_CHECKING:
    from vidtldr.evaluate.answering import AnsweringResult
    from vidtldr.evaluate.multiple_choice import MultipleChoiceResult
    from vidtldr.evaluate.progress import OnStep
    from vidtldr.evaluate.retrieval import RetrievalResult

__all__ = ["app"]

app = typer.Typer(
    no_args_is_help=True,
    help="Evaluate UMT by the paper's protocol. A video that cannot be read is listed and counts "
    "as a miss. Exit codes: 0 all read, 1 some videos failed, 2 nothing could start.",
)


@app.command("retrieval")
@spread_options
def retrieval(
    *,
    annotations: AnnotationsOption,
    protocol: Annotated[
        str,
        typer.Option(
            help="The set's: msrvtt, msvd, anet, didemo, lsmdc, ssv2-label or ssv2-template.",
            show_default=False,
        ),
    ],
    umt: UMTOptions,
    merging: MergeOptions,
    rerank: Annotated[
        int | None,
        typer.Option(min=0, help="Best of each query to score again, 128 by default; 0 for none."),
    ] = None,
    options: EvaluateOptions,
    run: RunOptions,
) -> None:
    """Find videos by text and texts by video: R@1, R@5, R@10, median rank.

    Annotations are [{"video": "a.mp4", "caption": "..." or [...]}, ...].
    """
    with clear_errors(run.debug, what_is_kept(options.cache)):
        merge = _checked(umt, merging, options, annotations)
        rules = retrieval_protocol(protocol)
        if rerank:
            rules = replace(rules, k_test=rerank)
        from vidtldr.cli.evaluate_output import show
        from vidtldr.cli.evaluate_run import run_evaluation, settings_of
        from vidtldr.cli.load_umt_model import load_retrieval
        from vidtldr.evaluate.retrieval import evaluate_retrieval

        model = load_retrieval(umt, merging.preset)
        settings = settings_of(model, umt, options, merging.preset, run.time_limit)

        def evaluate(merge: MergeConfig | None, on_step: "OnStep") -> "RetrievalResult":
            return evaluate_retrieval(
                model,
                annotations,
                options.videos,
                rules,
                merge=merge,
                settings=settings,
                with_rerank=rerank != 0,
                on_step=on_step,
            )

        result = run_evaluation(evaluate, merge, compare=options.compare)
        num_failed = show(result, options.output, as_json=run.as_json)
    _end(num_failed)


@app.command("answering")
@spread_options
def answering(
    *,
    annotations: AnnotationsOption,
    answers: Annotated[
        Path,
        typer.Option(metavar="JSON", help="All answers: a list of texts.", show_default=False),
    ],
    umt: UMTOptions,
    merging: MergeOptions,
    options: EvaluateOptions,
    run: RunOptions,
) -> None:
    """Answer questions about videos out of a list: accuracy.

    Annotations are [{"video": "a.mp4", "question": "...", "answer": "...", "question_id": 1}, ...].
    """
    with clear_errors(run.debug, what_is_kept(options.cache)):
        merge = _checked(umt, merging, options, annotations)
        from vidtldr.cli.evaluate_output import show
        from vidtldr.cli.evaluate_run import run_evaluation, settings_of
        from vidtldr.cli.load_umt_model import load_answering
        from vidtldr.evaluate.answering import evaluate_answering

        model = load_answering(umt, merging.preset)
        settings = settings_of(model, umt, options, merging.preset, run.time_limit)

        def evaluate(merge: MergeConfig | None, on_step: "OnStep") -> "AnsweringResult":
            return evaluate_answering(
                model,
                annotations,
                answers,
                options.videos,
                merge=merge,
                settings=settings,
                on_step=on_step,
            )

        result = run_evaluation(evaluate, merge, compare=options.compare)
        num_failed = show(result, options.output, as_json=run.as_json)
    _end(num_failed)


@app.command("multiple-choice")
@spread_options
def multiple_choice(
    *,
    annotations: AnnotationsOption,
    umt: UMTOptions,
    merging: MergeOptions,
    options: EvaluateOptions,
    run: RunOptions,
) -> None:
    """Pick the right one of five captions (MSRVTT-MC): accuracy.

    Annotations are [{"video": "a.mp4", "caption": [five texts], "answer": 0}, ...].
    """
    with clear_errors(run.debug, what_is_kept(options.cache)):
        merge = _checked(umt, merging, options, annotations)
        from vidtldr.cli.evaluate_output import show
        from vidtldr.cli.evaluate_run import run_evaluation, settings_of
        from vidtldr.cli.load_umt_model import load_retrieval
        from vidtldr.evaluate.multiple_choice import evaluate_multiple_choice

        model = load_retrieval(umt, merging.preset)
        settings = settings_of(model, umt, options, merging.preset, run.time_limit)

        def evaluate(merge: MergeConfig | None, on_step: "OnStep") -> "MultipleChoiceResult":
            return evaluate_multiple_choice(
                model, annotations, options.videos, merge=merge, settings=settings, on_step=on_step
            )

        result = run_evaluation(evaluate, merge, compare=options.compare)
        num_failed = show(result, options.output, as_json=run.as_json)
    _end(num_failed)


def _checked(
    umt: UMTOptions, merging: MergeOptions, options: EvaluateOptions, annotations: Path
) -> MergeConfig | None:
    """What to merge; refuses what can be refused without torch."""
    merge, _ = merging.parse_for_compare(options.compare), umt.checkpoint
    options.validate(annotations)
    return merge


def _end(num_failed: int) -> None:
    if num_failed:
        raise typer.Exit(SOME_INPUTS_FAILED)
