"""Say what a video shows in labels that the model was never trained on, by their texts.

Letters: `K` labels.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from torch import Tensor

from vidtldr.tasks.search import embed_pooled, retrieval_model
from vidtldr.tasks.text_features import encode_texts, prompt_tokens
from vidtldr.tasks.video_features import VideoEncoding

__all__ = ["LabelledVideo", "classify_by_text"]


@dataclass(frozen=True)
class LabelledVideo:
    """One video and how likely each label is.

    Attributes:
        path: The file, as it was given.
        probabilities: Softmax over the labels, shape (K,), float32; None if the video failed.
        seconds: Time that the frames sampled from cover; None if unknown.
        notes: Everything unusual about the file.
        error: Why the video failed; None if it did not.
    """

    path: str
    probabilities: Tensor | None
    seconds: float | None
    notes: tuple[str, ...]
    error: str | None


def classify_by_text(
    encoding: VideoEncoding,
    paths: Sequence[str],
    labels: Sequence[str],
    *,
    temperature: float | None = None,
    batch_size: int = 1,
    on_step: Callable[[], object] = lambda: None,
) -> Iterator[LabelledVideo]:
    """Classify videos among labels by the cosine of video and label text.

    A label is its own prompt, cleaned as captions are. Probabilities are the softmax of the
    cosines over the temperature that the checkpoint learnt (about 0.01 to 0.07), which is how the
    authors' program compares the choices of a multiple-choice question by cosine. They have no
    program that classifies by labels, so there is no number of theirs to compare with.

    Args:
        encoding: A `UMTRetrieval` and how it merges and reads.
        paths: Local files.
        labels: Names of the classes, at least one.
        temperature: Divides the cosines, above 0; None takes the model's own.
        batch_size: As in `VideoEncoding.encode_all`.
        on_step: Called after every video, to show progress.

    Yields:
        One row a path, in order.

    Raises:
        ValueError: If there are no labels, one is empty or too long, two are the same once cleaned
            and tokenized, or the temperature is not above 0.
        TypeError: If the model is not a `UMTRetrieval`.
    """
    model = retrieval_model(encoding)
    scale = model.temp.item() if temperature is None else temperature
    if not scale > 0:
        raise ValueError(f"temperature must be above 0, got {scale}. Pass 0.07, for example.")
    if not labels:
        raise ValueError("labels must hold at least one name, got none. Pass two or more.")
    tokens = prompt_tokens(model.tokenizer, labels, "labels")
    _validate_different(labels, tokens.input_ids)
    with encoding.computing():
        texts = encode_texts(model, tokens)
    for row in encoding.encode_all(paths, batch_size=batch_size, on_step=on_step):
        probabilities = None
        if row.pooled is not None:
            cosines = embed_pooled(encoding, row.pooled[None]) @ texts.row_embeddings[texts.rows].T
            probabilities = (cosines[0] / scale).softmax(dim=0)
        yield LabelledVideo(row.path, probabilities, row.seconds, row.notes, row.error)


def _validate_different(labels: Sequence[str], input_ids: Tensor) -> None:
    seen: dict[tuple[int, ...], str] = {}
    for label, ids in zip(labels, input_ids.tolist(), strict=True):
        first = seen.setdefault(tuple(ids), label)
        if first is not label:
            raise ValueError(
                f"labels must differ for the model, got {first!r} and {label!r}, which it reads "
                "alike. Drop one of them."
            )
