"""Evaluate text-video retrieval with a dual encoder of transformers.

Letters: `V` videos, `T` texts.
"""

import os
from dataclasses import replace

import torch

from vidtldr.config import MergeConfig
from vidtldr.evaluate.annotations import read_retrieval
from vidtldr.evaluate.protocols import RetrievalProtocol
from vidtldr.evaluate.ranking import UNDECODABLE, Scores, measure
from vidtldr.evaluate.retrieval import RetrievalResult
from vidtldr.evaluate.run_record import record_run
from vidtldr.evaluate.settings import Settings
from vidtldr.evaluate.video_folder import VideoFolder
from vidtldr.evaluate.view_classifier import ClassifiedVideo, ViewClassifier
from vidtldr.steps import OnStep, ignore_steps, steps_of
from vidtldr.tasks.dual_encoder import DualEncoder
from vidtldr.tasks.pretrained import Pretrained
from vidtldr.tasks.zero_shot import classifier_of_texts
from vidtldr.video.sampling import Sampling
from vidtldr.video.views import Views

__all__ = ["evaluate_dual_retrieval"]


def evaluate_dual_retrieval(
    pretrained: Pretrained,
    dual: DualEncoder,
    annotations: str | os.PathLike[str],
    videos: str | os.PathLike[str],
    protocol: RetrievalProtocol,
    *,
    merge: MergeConfig | None = None,
    settings: Settings | None = None,
    on_step: OnStep = ignore_steps,
) -> RetrievalResult:
    """Evaluate a dual encoder on a retrieval set; there is no fusion encoder to re-rank by.

    Texts are read as they are and cut at the model's longest, the usual protocol of CLIP. A pair's
    score is the model's own logit. As in `evaluate_retrieval`, a video that cannot be decoded stays
    in the set and its queries are misses.

    Args:
        pretrained: The model, on its device.
        dual: The same with its tokenizer.
        annotations: JSON file, see `read_retrieval`.
        videos: Directory of the videos.
        protocol: Protocol of the set, see `retrieval_protocol`.
        merge: What to merge; None evaluates the unmerged model.
        settings: How to run; None uses the defaults.
        on_step: Called after each video ("videos").

    Raises:
        ValueError: If an annotation is invalid (names file and line) or the schedule does not fit.
        OSError: If the annotations cannot be read or no video exists.
    """
    settings = settings or Settings()
    retrieval = read_retrieval(annotations, protocol)
    paths = VideoFolder(videos).find_all(retrieval.videos)
    texts = list(dict.fromkeys(retrieval.texts))  # equal texts then have equal scores
    place = {text: index for index, text in enumerate(texts)}
    scorer = ViewClassifier(
        classifier_of_texts(pretrained, dual, texts),
        Views(Sampling(pretrained.num_frames), pretrained.transform),
        merge,
        cache_dir=settings.cache_dir,
        autocast=settings.autocast,
        time_limit_seconds=settings.time_limit_seconds,
        max_seconds=protocol.max_seconds,
    )
    scores = torch.full((len(paths), len(retrieval.texts)), UNDECODABLE)
    columns = [place[text] for text in retrieval.texts]
    rows: list[ClassifiedVideo] = []
    scored = scorer.classify_all(
        paths,
        batch_size=settings.batch_size,
        num_readers=settings.num_readers,
        on_step=steps_of(on_step, "videos", len(paths)),
    )
    for index, row in enumerate(scored):
        if row.logits is not None:
            scores[index] = row.logits[0, columns]
        rows.append(replace(row, logits=None))
    dual_metrics = measure(Scores(scores, scores.T), retrieval)
    run = record_run(scorer, settings, protocol, rows, {"annotations": annotations})
    return RetrievalResult(dual_metrics, None, len(retrieval.texts), run)
