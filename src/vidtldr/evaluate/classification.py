"""Evaluate classification of videos by one or many views.

Letters: `V` views of a video, `K` classes.
"""

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from torch import Tensor

from vidtldr.config import MergeConfig
from vidtldr.evaluate.labelled_videos import (
    LabelledVideo,
    read_labelled_videos,
    resolve_labels,
)
from vidtldr.evaluate.metrics import accuracy
from vidtldr.evaluate.protocols import CLASSIFICATION, ClassificationProtocol
from vidtldr.evaluate.run_record import RunRecord, record_run
from vidtldr.evaluate.settings import Settings
from vidtldr.evaluate.video_folder import VideoFolder
from vidtldr.evaluate.view_classifier import ClassifiedVideo, ViewClassifier
from vidtldr.steps import OnStep, ignore_steps, steps_of
from vidtldr.tasks.classify import LabelProbability
from vidtldr.tasks.pretrained import Pretrained
from vidtldr.video.sampling import Sampling
from vidtldr.video.view_sampling import AnySampling, SegmentSampling
from vidtldr.video.views import Views

__all__ = [
    "ClassificationResult",
    "LabelPrediction",
    "agreement",
    "average_views",
    "evaluate_classification",
    "label_rank",
    "views_of",
]

NUM_LIKELIEST = 5


@dataclass(frozen=True)
class LabelPrediction:
    """One video classified.

    Attributes:
        video: As in the annotations.
        label: Name of the right class.
        likeliest: The 5 likeliest classes, likeliest first, all if there are fewer; empty if the
            video could not be classified.
        rank: Place of the right class among all, from 1; None if it could not be classified.
    """

    video: str
    label: str
    likeliest: tuple[LabelProbability, ...]
    rank: int | None


@dataclass(frozen=True)
class ClassificationResult:
    """Classification of one set.

    Attributes:
        top1: Percent of the videos classified whose likeliest class is the right one, not rounded;
            None if none could be classified.
        top5: The same of the 5 likeliest.
        num_classified: Videos that the percentages are of.
        num_failed: Videos that could not be classified, which are left out of the percentages; see
            `run.failed_videos`.
        num_labels: Classes K.
        num_views: Views V of each video.
        predictions: One per video, in the order of the annotations.
        run: Record of the run.
    """

    top1: float | None
    top5: float | None
    num_classified: int
    num_failed: int
    num_labels: int
    num_views: int
    predictions: tuple[LabelPrediction, ...]
    run: RunRecord

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, ready for JSON."""
        return asdict(self)


def evaluate_classification(
    pretrained: Pretrained,
    annotations: str | os.PathLike[str],
    videos: str | os.PathLike[str],
    *,
    protocol: ClassificationProtocol = CLASSIFICATION["single"],
    merge: MergeConfig | None = None,
    settings: Settings | None = None,
    on_step: OnStep = ignore_steps,
) -> ClassificationResult:
    """Evaluate a classifier on videos with labels: top-1 and top-5 accuracy.

    Args:
        pretrained: The classifier, on its device, see `load_classifier`.
        annotations: Videos and labels, see `read_labelled_videos`.
        videos: Directory of the videos.
        protocol: The views of each video, see `classification_protocol`.
        merge: What to merge; None evaluates the unmerged model.
        settings: How to run; None uses the defaults.
        on_step: Called after each video ("videos").

    Raises:
        ValueError: If an annotation is invalid or a label unknown (names file and line), the
            schedule does not fit, or the model takes no such views.
        OSError: If the annotations cannot be read or no video exists.
    """
    settings = settings or Settings()
    labelled = read_labelled_videos(annotations)
    right = resolve_labels(labelled, pretrained.labels)
    paths = VideoFolder(videos).find_all(each.video for each in labelled)
    _validate_distinct(labelled, paths)
    classifier = ViewClassifier(
        pretrained,
        views_of(protocol, pretrained),
        merge,
        cache_dir=settings.cache_dir,
        autocast=settings.autocast,
        time_limit_seconds=settings.time_limit_seconds,
    )
    rows: list[ClassifiedVideo] = []
    predictions: list[LabelPrediction] = []
    classified = classifier.classify_all(
        paths,
        batch_size=settings.batch_size,
        num_readers=settings.num_readers,
        on_step=steps_of(on_step, "videos", len(paths)),
    )
    for row, one, label in zip(classified, labelled, right, strict=True):
        probabilities = None
        if row.logits is not None:
            probabilities = average_views(row.logits, protocol, is_sigmoid=classifier.is_sigmoid)
        predictions.append(_predict(one.video, label, pretrained.labels, probabilities))
        rows.append(replace(row, logits=None))
    run = record_run(classifier, settings, protocol, rows, {"annotations": annotations})
    return _result(predictions, len(pretrained.labels), classifier.views.num_views, run)


def views_of(protocol: ClassificationProtocol, pretrained: Pretrained) -> Views:
    """Return the views of a protocol for one model.

    Raises:
        ValueError: If the model takes no such views.
    """
    num_frames = pretrained.num_frames
    sampling: AnySampling = Sampling(num_frames)
    if protocol.policy != "middle":
        stride = protocol.stride or 1
        segments = protocol.num_segments
        sampling = SegmentSampling(num_frames, segments, protocol.policy, stride)
    return Views(sampling, pretrained.transform, protocol.num_crops)


def average_views(
    logits: Tensor, protocol: ClassificationProtocol, *, is_sigmoid: bool = False
) -> Tensor:
    """Average over the views of a video.

    Args:
        logits: Shape (V, K).
        protocol: What is averaged.
        is_sigmoid: Whether each class has a probability of its own, the sigmoid of its logit; else
            they share one, by softmax.

    Returns:
        Probabilities, shape (K,), float64.
    """
    logits = logits.double()
    if protocol.average == "logits":
        logits = logits.mean(dim=0, keepdim=True)
    probabilities = logits.sigmoid() if is_sigmoid else logits.softmax(dim=1)
    return probabilities.mean(dim=0)


def label_rank(probabilities: Tensor, label: int) -> int:
    """Return the place of a class, from 1; of equal ones, those of lower index come first.

    Args:
        probabilities: Shape (K,).
        label: Index of the class.
    """
    own = probabilities[label]
    return 1 + int((probabilities > own).sum() + (probabilities[:label] == own).sum())


def agreement(one: ClassificationResult, other: ClassificationResult) -> float | None:
    """Percent of videos for which both predict the same class, of those that both classified.

    Args:
        one: A result.
        other: Another of the same annotations.

    Returns:
        The percentage, not rounded; None if there are no such videos.
    """
    pairs = zip(one.predictions, other.predictions, strict=True)
    both = [(a.likeliest[0], b.likeliest[0]) for a, b in pairs if a.likeliest and b.likeliest]
    return accuracy([a.label == b.label for a, b in both]) if both else None


def _validate_distinct(labelled: Sequence[LabelledVideo], paths: Sequence[str]) -> None:
    """Refuse two names of one file: with and without its extension."""
    first: dict[str, LabelledVideo] = {}
    for each, path in zip(labelled, paths, strict=True):
        if path in first:
            rule = f"a video must come once (line {first[path].entry.line} names the same file)"
            each.entry.refuse(rule, each.video, "Remove one of the two.")
        first[path] = each


def _predict(
    video: str, label: int, labels: Sequence[str], probabilities: Tensor | None
) -> LabelPrediction:
    if probabilities is None:
        return LabelPrediction(video, labels[label], (), None)
    best = probabilities.sort(descending=True, stable=True)
    likeliest = tuple(
        LabelProbability(labels[index], probability)
        for index, probability in zip(
            best.indices[:NUM_LIKELIEST].tolist(),
            best.values[:NUM_LIKELIEST].tolist(),
            strict=True,
        )
    )
    return LabelPrediction(video, labels[label], likeliest, label_rank(probabilities, label))


def _result(
    predictions: Sequence[LabelPrediction], num_labels: int, num_views: int, run: RunRecord
) -> ClassificationResult:
    ranks = [each.rank for each in predictions if each.rank is not None]
    return ClassificationResult(
        top1=accuracy([rank == 1 for rank in ranks]) if ranks else None,
        top5=accuracy([rank <= NUM_LIKELIEST for rank in ranks]) if ranks else None,
        num_classified=len(ranks),
        num_failed=len(predictions) - len(ranks),
        num_labels=num_labels,
        num_views=num_views,
        predictions=tuple(predictions),
        run=run,
    )
