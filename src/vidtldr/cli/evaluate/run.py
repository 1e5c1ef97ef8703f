"""Implementation of `vidtldr evaluate`."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from torch import nn

from vidtldr.cli.evaluate.command import EvaluateOptions
from vidtldr.cli.model_options import ModelOptions
from vidtldr.cli.terminal import phases
from vidtldr.config import MergeConfig
from vidtldr.evaluate.answering import AnsweringResult
from vidtldr.evaluate.classification import ClassificationResult
from vidtldr.evaluate.comparison import Compared, evaluate_both
from vidtldr.evaluate.dual_retrieval import evaluate_dual_retrieval
from vidtldr.evaluate.multiple_choice import MultipleChoiceResult
from vidtldr.evaluate.protocols import RetrievalProtocol
from vidtldr.evaluate.retrieval import RetrievalResult, evaluate_retrieval
from vidtldr.evaluate.settings import Settings
from vidtldr.models.umt.retrieval import UMTRetrieval
from vidtldr.steps import OnStep
from vidtldr.tasks.dual_encoder import DualEncoder
from vidtldr.tasks.fingerprint import WEIGHTS_FILE
from vidtldr.tasks.model_files import model_directory, model_source
from vidtldr.tasks.pretrained import DTYPES, Pretrained

__all__ = ["dual_evaluation", "run_evaluation", "settings_of", "umt_evaluation"]

ResultT = TypeVar(
    "ResultT", RetrievalResult, AnsweringResult, MultipleChoiceResult, ClassificationResult
)


def settings_of(
    model: nn.Module,
    spec: ModelOptions,
    options: EvaluateOptions,
    preset: str | None,
    time_limit_seconds: float,
) -> Settings:
    """Turn the options into settings.

    Raises:
        ValueError: If the device does not support the half-precision dtype.
    """
    device = next(model.parameters()).device
    if options.autocast == "float16" and device.type == "cpu":
        raise ValueError(
            "--autocast must be none or bfloat16 on a CPU, got 'float16'. Use a GPU, or bfloat16."
        )
    return Settings(
        cache_dir=options.cache,
        weights_file=_weights_of(spec),
        schedule_name=preset,
        autocast=DTYPES.get(options.autocast),
        batch_size=options.batch,
        num_readers=options.readers,
        time_limit_seconds=time_limit_seconds,
    )


def _weights_of(spec: ModelOptions) -> Path | None:
    """Return the weights as `file_sha256` takes them; None if they are several files."""
    if spec.is_umt:
        return spec.checkpoint
    assert spec.model is not None
    directory = model_directory(model_source(spec.model))  # loaded, and so on this machine
    return directory if (directory / WEIGHTS_FILE).is_file() else None


def umt_evaluation(
    model: UMTRetrieval,
    annotations: Path,
    videos: Path,
    protocol: RetrievalProtocol,
    settings: Settings,
    *,
    with_rerank: bool,
) -> Callable[[MergeConfig | None, OnStep], RetrievalResult]:
    """Return the evaluation of UMT's retrieval as `run_evaluation` takes it."""

    def evaluate(merge: MergeConfig | None, on_step: OnStep) -> RetrievalResult:
        return evaluate_retrieval(
            model,
            annotations,
            videos,
            protocol,
            merge=merge,
            settings=settings,
            with_rerank=with_rerank,
            on_step=on_step,
        )

    return evaluate


def dual_evaluation(
    pretrained: Pretrained,
    dual: DualEncoder | None,
    annotations: Path,
    videos: Path,
    protocol: RetrievalProtocol,
    settings: Settings,
) -> Callable[[MergeConfig | None, OnStep], RetrievalResult]:
    """Return the evaluation of a dual encoder of transformers as `run_evaluation` takes it.

    Raises:
        ValueError: If the model reads no texts.
    """
    if dual is None:
        raise ValueError(
            "`model` must read texts, as UMT, CLIP and SigLIP do, got one that does not. Name "
            "another."
        )

    def evaluate(merge: MergeConfig | None, on_step: OnStep) -> RetrievalResult:
        return evaluate_dual_retrieval(
            pretrained,
            dual,
            annotations,
            videos,
            protocol,
            merge=merge,
            settings=settings,
            on_step=on_step,
        )

    return evaluate


def run_evaluation(
    evaluate: Callable[[MergeConfig | None, OnStep], ResultT],
    merge: MergeConfig | None,
    *,
    compare: bool,
) -> ResultT | Compared[ResultT]:
    """Evaluate with a bar for each phase; with `compare`, first unmerged, then merged.

    Args:
        evaluate: Function that evaluates with a schedule.
        merge: The schedule; None, without `compare` only, for no merging.
        compare: Whether to run both.
    """
    with phases() as on_step:
        if not compare or merge is None:
            return evaluate(merge, on_step)

        def side(config: MergeConfig | None) -> ResultT:
            name = "unmerged" if config is None else "merged"
            return evaluate(config, lambda what, *steps: on_step(f"{name}: {what}", *steps))

        return evaluate_both(side, merge)
