"""The same evaluation unmerged and merged."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Generic, TypeVar

from vidtldr.config import MergeConfig
from vidtldr.evaluate.answering import AnsweringResult
from vidtldr.evaluate.classification import ClassificationResult, agreement
from vidtldr.evaluate.multiple_choice import MultipleChoiceResult
from vidtldr.evaluate.retrieval import RetrievalResult

__all__ = ["Compared", "evaluate_both"]

ResultT = TypeVar(
    "ResultT", RetrievalResult, AnsweringResult, MultipleChoiceResult, ClassificationResult
)


@dataclass(frozen=True)
class Compared(Generic[ResultT]):
    """Both results.

    Attributes:
        unmerged: Result of the model as is.
        merged: Result of the same model with the schedule.
    """

    unmerged: ResultT
    merged: ResultT

    @property
    def flop_reduction(self) -> float:
        """FLOPs unmerged over FLOPs merged."""
        return self.unmerged.run.gflops_per_clip / self.merged.run.gflops_per_clip

    @property
    def speedup(self) -> float | None:
        """Throughput merged over unmerged; None if all clips of a side came from the cache.

        The two sides run one after the other, so other load on the machine distorts it;
        `vidtldr.bench` alternates between the sides.
        """
        before, after = self.unmerged.run.clips_per_second, self.merged.run.clips_per_second
        return None if before is None or after is None else after / before

    @property
    def agreement(self) -> float | None:
        """Percent of videos that both sides classify alike, see `classification.agreement`.

        None for other kinds of evaluation.
        """
        unmerged, merged = self.unmerged, self.merged
        if isinstance(unmerged, ClassificationResult) and isinstance(merged, ClassificationResult):
            return agreement(unmerged, merged)
        return None

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, ready for JSON; with the agreement for a classification."""
        # `flops_ratio`: what the key has always been.
        gain = {"flops_ratio": self.flop_reduction, "speedup": self.speedup}
        if isinstance(self.merged, ClassificationResult):
            gain["agreement"] = self.agreement
        return {**asdict(self), **gain}


def evaluate_both(
    evaluate: Callable[[MergeConfig | None], ResultT], merge: MergeConfig
) -> Compared[ResultT]:
    """Evaluate unmerged, then merged; each side has its own entries in the feature cache.

    Args:
        evaluate: Evaluates with a schedule, None for none.
        merge: The schedule.
    """
    return Compared(evaluate(None), evaluate(merge))
