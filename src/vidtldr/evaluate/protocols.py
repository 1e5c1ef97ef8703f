"""How each set of the paper is evaluated.

The number of frames is always that of training (12; for the pretrained zero-shot models, 4), see
`vidtldr.tasks.clip_reader.umt_reader`.

Source: the authors' configurations; Choi et al., CVPR 2024.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

__all__ = [
    "ANSWERING",
    "MULTIPLE_CHOICE",
    "RETRIEVAL",
    "AnsweringProtocol",
    "MultipleChoiceProtocol",
    "RetrievalProtocol",
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
