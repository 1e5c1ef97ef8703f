"""`vidtldr evaluate`: run published protocols on a set of videos."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from vidtldr.cli.classify.command import validate_model
from vidtldr.cli.errors import SOME_INPUTS_FAILED, clear_errors
from vidtldr.cli.merge_options import MergeOptions
from vidtldr.cli.model_options import LabelsOption, ModelOptions, TemplateOption
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
    MAX_BATCH,
    MAX_THREADS,
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
from vidtldr.evaluate.labelled_videos import read_labelled_videos, resolve_labels
from vidtldr.evaluate.protocols import classification_protocol, retrieval_protocol
from vidtldr.evaluate.video_folder import VideoFolder
from vidtldr.tasks.labels import parse_labels

if TYPE_CHECKING:
    from vidtldr.evaluate.answering import AnsweringResult
    from vidtldr.evaluate.classification import ClassificationResult
    from vidtldr.evaluate.multiple_choice import MultipleChoiceResult
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
            metavar="DTYPE",
            help="Half-precision dtype to compute in: none, float16 (the paper's protocol, on a "
            "GPU) or bfloat16.",
        ),
    ] = "none"
    batch: Annotated[int, typer.Option(min=1, max=MAX_BATCH, help="Clips per batch.")] = 1
    readers: Annotated[
        int, typer.Option(min=1, max=MAX_THREADS, help="Threads that decode videos.")
    ] = 2

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


MAX_VIEWS = 100  # in time, and in space; protocols have at most 10


app = typer.Typer(
    no_args_is_help=True,
    short_help="Evaluate on annotated videos: classification, retrieval, questions.",
    help="Evaluate on annotated videos, by the protocols of vid-TLDR and VideoMAE. A video that "
    "cannot be read is listed; it counts as a miss, but in classification it is left out. Exit "
    "codes: 0 all read, 1 some videos failed, 2 nothing could start.",
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

    Any model that reads texts: umt:, CLIP, SigLIP, X-CLIP; only umt: re-ranks.

    Annotations are [{"video": "a.mp4", "caption": "..." or [...]}, ...].

    Example: vidtldr evaluate retrieval --annotations msrvtt_test.json --videos MSRVTT --model
    umt:msrvtt.pth --protocol msrvtt
    """
    with clear_errors(run.debug, what_is_kept(options.cache)):
        merge = merging.parse(spec, must_merge=options.compare)
        spec.validate()
        options.validate()
        rules = retrieval_protocol(protocol)
        if rerank:
            rules = replace(rules, k_test=rerank)
        if rerank and not spec.is_umt:
            raise ValueError(
                f"--rerank must come with a umt: model, got {rerank} with {spec.model!r}, which "
                "has no fusion encoder. Leave it out."
            )
        options.find_videos(read_retrieval(annotations, rules).videos)
        from vidtldr.cli.evaluate.output import show
        from vidtldr.cli.evaluate.run import (
            dual_evaluation,
            run_evaluation,
            settings_of,
            umt_evaluation,
        )
        from vidtldr.cli.load_model import load_model, load_retrieval

        if spec.is_umt:
            umt = load_retrieval(spec)
            settings = settings_of(umt, spec, options, merging.preset, run.time_limit)
            where = (annotations, options.videos, rules, settings)
            evaluate = umt_evaluation(umt, *where, with_rerank=rerank != 0)
        else:
            pretrained, dual = load_model(spec)
            settings = settings_of(pretrained.model, spec, options, merging.preset, run.time_limit)
            where = (annotations, options.videos, rules, settings)
            evaluate = dual_evaluation(pretrained, dual, *where)
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
        from vidtldr.cli.evaluate.output import show
        from vidtldr.cli.evaluate.run import run_evaluation, settings_of
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
        from vidtldr.cli.evaluate.output import show
        from vidtldr.cli.evaluate.run import run_evaluation, settings_of
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


@app.command("classification")
@spread_options
def classification(
    *,
    annotations: Annotated[
        Path,
        Reads(),
        typer.Option(
            metavar="FILE",
            help="Videos with their labels, by name or index: lines, CSV or JSON.",
            show_default=False,
        ),
    ],
    protocol: Annotated[
        str,
        typer.Option(
            help="Views of each video: single, or VideoMAE's: kinetics (5 x 3) or ssv2 (2 x 3)."
        ),
    ] = "single",
    segments: Annotated[
        int | None,
        typer.Option(min=1, max=MAX_VIEWS, help="Views in time; default: the protocol's."),
    ] = None,
    crops: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=MAX_VIEWS,
            help="Views in space, along the longer side; default: the protocol's.",
        ),
    ] = None,
    stride: Annotated[
        int | None,
        typer.Option(min=1, help="Step between frames with --protocol kinetics; default: 4."),
    ] = None,
    average: Annotated[
        Literal["probabilities", "logits"],
        typer.Option(
            metavar="AVERAGE",
            help="What is averaged over views: probabilities, as VideoMAE does, or logits.",
        ),
    ] = "probabilities",
    labels: LabelsOption = None,
    template: TemplateOption = None,
    spec: ModelOptions,
    merging: MergeOptions,
    options: EvaluateOptions,
    run: RunOptions,
) -> None:
    """Evaluate classification by one or many views of each video: top-1 and top-5 accuracy.

    Annotations have one video and its label per line, as in the lists of Kinetics and SSv2: a.mp4
    3; or they are CSV with the columns video and label, or JSON: [{"video": "a.mp4", "label":
    "yoga"}, ...].

    Example: vidtldr evaluate classification --annotations k400_val.csv --videos K400 --model
    MCG-NJU/videomae-base-finetuned-kinetics --protocol kinetics
    """
    with clear_errors(run.debug, what_is_kept(options.cache)):
        merge = merging.parse(spec, must_merge=options.compare)
        validate_model(spec, labels)
        options.validate()
        rules = classification_protocol(
            protocol, segments=segments, crops=crops, stride=stride, average=average
        )
        names = None if labels is None else parse_labels(labels)
        labelled = read_labelled_videos(annotations)
        if names is not None:
            resolve_labels(labelled, names)
        options.find_videos(each.video for each in labelled)
        from vidtldr.cli.evaluate.output import show
        from vidtldr.cli.evaluate.run import run_evaluation, settings_of
        from vidtldr.cli.load_model import load_classifier
        from vidtldr.evaluate.classification import evaluate_classification

        pretrained = load_classifier(spec, names, template)
        settings = settings_of(pretrained.model, spec, options, merging.preset, run.time_limit)

        def evaluate(merge: MergeConfig | None, on_step: "OnStep") -> "ClassificationResult":
            return evaluate_classification(
                pretrained,
                annotations,
                options.videos,
                protocol=rules,
                merge=merge,
                settings=settings,
                on_step=on_step,
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
