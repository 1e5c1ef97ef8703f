"""The work of `vidtldr evaluate`."""

from collections.abc import Callable
from typing import TypeVar

from vidtldr.cli.evaluate_options import EvaluateOptions
from vidtldr.cli.progress import phases
from vidtldr.cli.umt_options import UMTOptions
from vidtldr.evaluate.answering import AnsweringResult
from vidtldr.evaluate.comparison import Compared, evaluate_both
from vidtldr.evaluate.multiple_choice import MultipleChoiceResult
from vidtldr.evaluate.progress import OnStep
from vidtldr.evaluate.retrieval import RetrievalResult
from vidtldr.evaluate.settings import Settings
from vidtldr.hosts.config import MergeConfig
from vidtldr.models.umt.answering import UMTAnswering
from vidtldr.models.umt.retrieval import UMTRetrieval
from vidtldr.tasks.pretrained import DTYPES

__all__ = ["run_evaluation", "settings_of"]

ResultT = TypeVar("ResultT", RetrievalResult, AnsweringResult, MultipleChoiceResult)


def settings_of(
    model: UMTRetrieval | UMTAnswering,
    umt: UMTOptions,
    options: EvaluateOptions,
    preset: str | None,
    time_limit_seconds: float,
) -> Settings:
    """Turn the options into settings.

    Raises:
        ValueError: If the device cannot compute in the half type.
    """
    device = next(model.parameters()).device
    if options.autocast == "float16" and device.type == "cpu":
        raise ValueError(
            "--autocast must be none or bfloat16 on a CPU, got 'float16'. Use a GPU, or bfloat16."
        )
    return Settings(
        cache_dir=options.cache,
        weights_file=umt.checkpoint,
        schedule_name=preset,
        autocast=DTYPES.get(options.autocast),
        batch_size=options.batch,
        num_readers=options.readers,
        time_limit_seconds=time_limit_seconds,
    )


def run_evaluation(
    evaluate: Callable[[MergeConfig | None, OnStep], ResultT],
    merge: MergeConfig | None,
    *,
    compare: bool,
) -> ResultT | Compared[ResultT]:
    """Evaluate with a bar for each part; with `compare` unmerged first, then merged.

    Args:
        evaluate: Evaluates with a schedule.
        merge: The schedule; None for none, without `compare`.
        compare: Whether to run both.
    """
    with phases() as on_step:
        if not compare or merge is None:
            return evaluate(merge, on_step)

        def side(config: MergeConfig | None) -> ResultT:
            name = "unmerged" if config is None else "merged"
            return evaluate(config, lambda what, *steps: on_step(f"{name}: {what}", *steps))

        return evaluate_both(side, merge)
