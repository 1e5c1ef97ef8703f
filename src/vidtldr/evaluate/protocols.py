"""How each set of the paper is evaluated.

The number of frames is always that of training (UMT: 12; for the pretrained zero-shot models, 4),
see `vidtldr.tasks.clip_reader.umt_reader`.

Source: the authors' configurations; Choi et al., CVPR 2024. Classification: VideoMAE (Tong et al.,
NeurIPS 2022), its test programs and scripts.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Literal

__all__ = [
    "ANSWERING",
    "CLASSIFICATION",
    "MULTIPLE_CHOICE",
    "RETRIEVAL",
    "AnsweringProtocol",
    "ClassificationProtocol",
    "MultipleChoiceProtocol",
    "RetrievalProtocol",
    "classification_protocol",
    "retrieval_protocol",
]


@dataclass(frozen=True)
class RetrievalProtocol:
    """Evaluation of one retrieval set.

    Attributes:
        name: As in the names of presets.
        max_text_tokens: Tokens of a caption, [CLS] and [SEP] included; longer ones are truncated.
        is_paragraph: Whether a list of captions forms one text; otherwise each is a query.
        has_many_videos: Whether entries are captions with all their videos.
        max_seconds: Use only this much of each video; None uses all.
        k_test: Best candidates of each query that the fusion encoder re-ranks.
    """

    name: str
    max_text_tokens: int
    is_paragraph: bool = False
    has_many_videos: bool = False
    max_seconds: float | None = None
    k_test: int = 128


@dataclass(frozen=True)
class AnsweringProtocol:
    """Evaluation of question answering.

    Attributes:
        name: What it is called in results.
        max_question_tokens: Tokens of a question; longer ones are truncated.
        max_answer_tokens: Tokens of an answer with its end; longer ones are truncated.
        k_test: Number of answers with the likeliest first token to rank; all if there are fewer.
    """

    name: str = "answering"
    max_question_tokens: int = 25
    max_answer_tokens: int = 5
    k_test: int = 128


@dataclass(frozen=True)
class MultipleChoiceProtocol:
    """Evaluation of MSRVTT-MC.

    The score of a caption is `match_weight` times its probability of "they match" plus
    `cosine_weight` times the softmax over the captions of cosine / learnt temperature, as in the
    authors' program (UMT's `tasks/retrieval_mc.py`).

    Attributes:
        name: What it is called in results.
        num_captions: Captions per question.
        max_text_tokens: Tokens of a caption; longer ones are truncated.
        match_weight: Weight of the fusion encoder's score.
        cosine_weight: Weight of the dual encoders' score.
    """

    name: str = "multiple-choice"
    num_captions: int = 5
    max_text_tokens: int = 32
    match_weight: float = 0.7
    cosine_weight: float = 0.3


@dataclass(frozen=True)
class ClassificationProtocol:
    """Evaluation of a classifier by one or many views of each video.

    Attributes:
        name: What it is called in results.
        num_segments: Views in time.
        num_crops: Views in space, of every segment; along the longer side.
        policy: `"middle"` spreads the frames of one segment over the video as every other command
            does; `"dense"` and `"uniform"` as `SegmentSampling`.
        stride: Step from one frame to the next of `"dense"`; None for the others.
        average: What is averaged over the views of a video. VideoMAE's program averages
            probabilities: softmax first, then the mean.
    """

    name: str
    num_segments: int = 1
    num_crops: int = 1
    policy: Literal["middle", "dense", "uniform"] = "middle"
    stride: int | None = None
    average: Literal["probabilities", "logits"] = "probabilities"


#: The seven retrieval sets by name.
RETRIEVAL: Mapping[str, RetrievalProtocol] = MappingProxyType(
    {
        protocol.name: protocol
        for protocol in (
            RetrievalProtocol("msrvtt", 32),
            RetrievalProtocol("msvd", 64),
            RetrievalProtocol("anet", 150, is_paragraph=True),
            RetrievalProtocol("didemo", 64, is_paragraph=True, max_seconds=30.0),
            RetrievalProtocol("lsmdc", 96),
            RetrievalProtocol("ssv2-label", 25, has_many_videos=True),
            RetrievalProtocol("ssv2-template", 25, has_many_videos=True),
        )
    }
)
#: Protocols of classification by name: one view, and VideoMAE's.
CLASSIFICATION: Mapping[str, ClassificationProtocol] = MappingProxyType(
    {
        protocol.name: protocol
        for protocol in (
            ClassificationProtocol("single"),
            ClassificationProtocol("kinetics", 5, 3, "dense", 4),
            ClassificationProtocol("ssv2", 2, 3, "uniform"),
        )
    }
)
ANSWERING = AnsweringProtocol()
MULTIPLE_CHOICE = MultipleChoiceProtocol()


def retrieval_protocol(name: str) -> RetrievalProtocol:
    """Return the protocol of a retrieval set.

    Raises:
        ValueError: If the name is unknown.
    """
    if name not in RETRIEVAL:
        raise ValueError(
            f"`protocol` must be one of {', '.join(RETRIEVAL)}, got {name!r}. Use one."
        )
    return RETRIEVAL[name]


def classification_protocol(
    name: str,
    *,
    segments: int | None = None,
    crops: int | None = None,
    stride: int | None = None,
    average: Literal["probabilities", "logits"] | None = None,
) -> ClassificationProtocol:
    """Return a protocol of classification, with other numbers where they are given.

    Args:
        name: `single`, `kinetics` or `ssv2`.
        segments: In place of `num_segments`.
        crops: In place of `num_crops`.
        stride: In place of `stride`, only for `kinetics`.
        average: In place of `average`.

    Raises:
        ValueError: If the name is unknown, a number is not positive, or the protocol has no such
            number.
    """
    if name not in CLASSIFICATION:
        raise ValueError(
            f"`protocol` must be one of {', '.join(CLASSIFICATION)}, got {name!r}. Use one."
        )
    protocol = CLASSIFICATION[name]
    for flag, number, of_protocols in (
        ("segments", segments, ("kinetics", "ssv2")),
        ("crops", crops, ("kinetics", "ssv2")),
        ("stride", stride, ("kinetics",)),
    ):
        if number is None:
            continue
        if name not in of_protocols:
            raise ValueError(
                f"`{flag}` must come with `protocol={'` or `protocol='.join(of_protocols)}`, got "
                f"`protocol={name}`. Leave out one of the two."
            )
        if number < 1:
            raise ValueError(f"`{flag}` must be at least 1, got {number}. Pass a positive count.")
    changes: dict[str, Any] = {
        "num_segments": segments,
        "num_crops": crops,
        "stride": stride,
        "average": average,
    }
    return replace(protocol, **{key: each for key, each in changes.items() if each is not None})
