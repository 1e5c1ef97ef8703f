"""`vidtldr evaluate`: run the paper's protocols on a set of videos."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from vidtldr.cli.errors import SOME_INPUTS_FAILED, clear_errors
from vidtldr.cli.model_options import MergeOptions, ModelOptions
from vidtldr.cli.output_options import (
    JSON_FILE,
    JSON_HELP,
    Output,
    Reads,
    Writes,
    validate_cache,
    validate_outputs,
)
from vidtldr.cli.run_options import (
    CacheOption,
    CompareOption,
    RunOptions,
    spread_options,
    what_is_kept,
)
from vidtldr.config import MergeConfig
from vidtldr.evaluate.annotations import (
    read_answers,
    read_choices,
    read_questions,
    read_retrieval,
)
from vidtldr.evaluate.protocols import retrieval_protocol
from vidtldr.evaluate.video_folder import VideoFolder

if TYPE_CHECKING:
    from vidtldr.evaluate.answering import AnsweringResult
    from vidtldr.evaluate.multiple_choice import MultipleChoiceResult
    from vidtldr.evaluate.retrieval import RetrievalResult
    from vidtldr.steps import OnStep

__all__ = ["AnnotationsOption", "EvaluateOptions", "app"]

AnnotationsOption = Annotated[
    Path,
    Reads(),
    typer.Option(metavar="JSON", help="Annotations as published.", show_default=False),
]


@dataclass(frozen=True)
class EvaluateOptions:
    """How to evaluate, as typed."""

    videos: Annotated[
        Path,
        Reads(is_kept_whole=False),
        typer.Option(metavar="DIR", help="Directory of the videos.", show_default=False),
    ]
    compare: CompareOption = False
    output: Annotated[
        Path | None,
        Writes(),
        typer.Option("--output", "-o", metavar="FILE", help=JSON_HELP),
    ] = None
    cache: CacheOption = None
    autocast: Annotated[
        Literal["none", "float16", "bfloat16"],
        typer.Option(
            help="Half-precision dtype to compute in; the paper's protocol uses float16 on a GPU."
        ),
    ] = "none"
    batch: Annotated[int, typer.Option(min=1, help="Videos per batch.")] = 1
    readers: Annotated[int, typer.Option(min=1, max=1024, help="Threads that decode videos.")] = 2

    def validate(self) -> None:
        """Check the options before a model is loaded.

        Raises:
            ValueError: If the output cannot be written or is an input, or the cache is a file.
        """
        validate_cache(self.cache)
        if self.output is not None:
            validate_outputs([Output(self.output, endings=JSON_FILE)])

    def find_videos(self, names: Iterable[str]) -> None:
        """Check that the directory holds videos of the annotations before a model is loaded.

        Raises:
            ValueError, OSError: As `VideoFolder.find_all`, or if the output is one of the videos.
        """
        found = VideoFolder(self.videos).find_all(names)
        if self.output is not None:
            validate_outputs([Output(self.output, endings=JSON_FILE)], map(str, found))


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
    spec: ModelOptions,
    merging: MergeOptions,
    rerank: Annotated[
        int | None,
        typer.Option(
            min=0, help="Top candidates of each query to re-rank; default 128, 0 for none."
        ),
    ] = None,
    options: EvaluateOptions,
    run: RunOptions,
) -> None:
    """Evaluate text-to-video and video-to-text retrieval: R@1, R@5, R@10, median rank.

    Annotations are [{"video": "a.mp4", "caption": "..." or [...]}, ...].

    Example: vidtldr evaluate retrieval --annotations msrvtt_test.json --videos MSRVTT --model
    umt:msrvtt.pth --protocol msrvtt
    """
    with clear_errors(run.debug, what_is_kept(options.cache)):
        merge = _checked(spec, merging, options)
        rules = retrieval_protocol(protocol)
        if rerank:
            rules = replace(rules, k_test=rerank)
        options.find_videos(read_retrieval(annotations, rules).videos)
        from vidtldr.cli.evaluate.run import run_evaluation, settings_of, show
        from vidtldr.cli.load_model import load_retrieval
        from vidtldr.evaluate.retrieval import evaluate_retrieval

        model = load_retrieval(spec)
        settings = settings_of(model, spec, options, merging.preset, run.time_limit)

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
        Reads(),
        typer.Option(
            metavar="JSON", help="All possible answers: a JSON list of texts.", show_default=False
        ),
    ],
    spec: ModelOptions,
    merging: MergeOptions,
    options: EvaluateOptions,
    run: RunOptions,
) -> None:
    """Evaluate video question answering with a list of answers: accuracy.

    Annotations are [{"video": "a.mp4", "question": "...", "answer": "...", "question_id": 1}, ...].

    Example: vidtldr evaluate answering --annotations qa_test.json --videos MSRVTT --answers
    answers.json --model umt:qa.pth
    """
    with clear_errors(run.debug, what_is_kept(options.cache)):
        merge = _checked(spec, merging, options)
        read_answers(answers)
        options.find_videos(each.video for each in read_questions(annotations))
        from vidtldr.cli.evaluate.run import run_evaluation, settings_of, show
        from vidtldr.cli.load_model import load_answering
        from vidtldr.evaluate.answering import evaluate_answering

        model = load_answering(spec)
        settings = settings_of(model, spec, options, merging.preset, run.time_limit)

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
    spec: ModelOptions,
    merging: MergeOptions,
    options: EvaluateOptions,
    run: RunOptions,
) -> None:
    """Evaluate the choice of the right caption of five (MSRVTT-MC): accuracy.

    Annotations are [{"video": "a.mp4", "caption": [five texts], "answer": 0}, ...].

    Example: vidtldr evaluate multiple-choice --annotations mc_test.json --videos MSRVTT --model
    umt:msrvtt.pth
    """
    with clear_errors(run.debug, what_is_kept(options.cache)):
        merge = _checked(spec, merging, options)
        options.find_videos(each.video for each in read_choices(annotations))
        from vidtldr.cli.evaluate.run import run_evaluation, settings_of, show
        from vidtldr.cli.load_model import load_retrieval
        from vidtldr.evaluate.multiple_choice import evaluate_multiple_choice

        model = load_retrieval(spec)
        settings = settings_of(model, spec, options, merging.preset, run.time_limit)

        def evaluate(merge: MergeConfig | None, on_step: "OnStep") -> "MultipleChoiceResult":
            return evaluate_multiple_choice(
                model, annotations, options.videos, merge=merge, settings=settings, on_step=on_step
            )

        result = run_evaluation(evaluate, merge, compare=options.compare)
        num_failed = show(result, options.output, as_json=run.as_json)
    _end(num_failed)


def _checked(
    spec: ModelOptions, merging: MergeOptions, options: EvaluateOptions
) -> MergeConfig | None:
    """Return what to merge, after all checks that do not need torch."""
    merge, _ = merging.parse(spec, must_merge=options.compare), spec.checkpoint
    options.validate()
    return merge


def _end(num_failed: int) -> None:
    if num_failed:
        raise typer.Exit(SOME_INPUTS_FAILED)
