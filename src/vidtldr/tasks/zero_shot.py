"""Zero-shot classification with UMT: labels are matched by their text embeddings.

Letters: `B` clips, `T` frames, `S` side of a frame, `K` labels, `E` channels of the space that
texts share with videos.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from vidtldr.models.umt.retrieval import UMTRetrieval
from vidtldr.tasks.clip_reader import umt_reader
from vidtldr.tasks.pretrained import Pretrained
from vidtldr.tasks.text_features import encode_texts, prompt_tokens

__all__ = ["TextClassifier", "text_classifier"]


@dataclass(frozen=True)
class TextLogits:
    """Output in the form of a transformers classifier.

    Attributes:
        logits: Cosine similarities divided by the temperature, shape (B, K), float32.
    """

    logits: Tensor


class TextClassifier(nn.Module):
    """A `UMTRetrieval` with fixed labels, called like a transformers video classifier.

    Args:
        umt: The model.
        label_embeddings: Unit vectors of the labels, shape (K, E).
    """

    label_embeddings: Tensor

    def __init__(self, umt: UMTRetrieval, label_embeddings: Tensor) -> None:
        super().__init__()
        self.umt = umt
        self.register_buffer("label_embeddings", label_embeddings.float())

    def forward(self, pixel_values: Tensor) -> TextLogits:
        """Score clips (B, T, 3, S, S)."""
        videos = self.umt.embed_video(self.umt.encode_video(pixel_values))
        return TextLogits(videos @ self.label_embeddings.T / self.umt.temp.float())


def text_classifier(model: UMTRetrieval, labels: Sequence[str]) -> Pretrained:
    """Make a zero-shot classifier from a model and labels.

    A label is its own prompt, cleaned as captions are. Probabilities are the softmax of the cosine
    similarities divided by the checkpoint's learnt temperature (about 0.01 to 0.07), as the
    authors' code does for the choices of multiple-choice questions. They have no program that
    classifies by labels, so there is no number of theirs to compare with.

    Args:
        model: The model, on its device.
        labels: Names of the classes, at least two.

    Raises:
        ValueError: If there are fewer than two labels, one is empty or too long, or two are alike
            once cleaned and tokenized.
    """
    if len(labels) < 2:
        raise ValueError(
            f"labels must be two or more, as a single one always has 100 %, got {list(labels)!r}. "
            "Add others."
        )
    tokens = prompt_tokens(model.tokenizer, labels, "labels")
    _validate_different(labels, tokens.input_ids)
    texts = encode_texts(model, tokens)
    # Outside inference mode the copy is an ordinary tensor, which a module may hold.
    embeddings = texts.row_embeddings[texts.rows].clone().to(model.temp.device)
    reader = umt_reader(model.config)
    classifier = TextClassifier(model, embeddings).eval()
    num_frames = model.config.num_frames
    return Pretrained(classifier, reader.transform, tuple(labels), num_frames, reader.note)


def _validate_different(labels: Sequence[str], input_ids: Tensor) -> None:
    seen: dict[tuple[int, ...], str] = {}
    for label, ids in zip(labels, input_ids.tolist(), strict=True):
        first = seen.setdefault(tuple(ids), label)
        if first is not label:
            raise ValueError(
                f"labels must differ for the model, got {first!r} and {label!r}, which it reads "
                "alike. Drop one of them."
            )
