"""UMT as a classifier of labels that it was never trained on, by their texts.

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
    """What a classifier of transformers returns.

    Attributes:
        logits: Cosines over the temperature, shape (B, K), float32.
    """

    logits: Tensor


class TextClassifier(nn.Module):
    """A `UMTRetrieval` with fixed labels, called as a video classifier of transformers is.

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
    """Make a classifier out of a model and labels.

    A label is its own prompt, cleaned as captions are. Probabilities are the softmax of the cosines
    over the temperature that the checkpoint learnt (about 0.01 to 0.07), which is how the authors'
    program compares the choices of a multiple-choice question by cosine. They have no program that
    classifies by labels, so there is no number of theirs to compare with.

    Args:
        model: On its device.
        labels: Names of the classes, at least one.

    Raises:
        ValueError: If there are no labels, one is empty or too long, or two are the same once
            cleaned and tokenized.
    """
    if not labels:
        raise ValueError("labels must hold at least one name, got none. Pass two or more.")
    tokens = prompt_tokens(model.tokenizer, labels, "labels")
    _validate_different(labels, tokens.input_ids)
    texts = encode_texts(model, tokens)
    # Outside inference mode the copy is an ordinary tensor, which a module may hold.
    embeddings = texts.row_embeddings[texts.rows].clone().to(model.temp.device)
    transform = umt_reader(model.config).transform
    classifier = TextClassifier(model, embeddings).eval()
    return Pretrained(classifier, transform, tuple(labels), model.config.num_frames)


def _validate_different(labels: Sequence[str], input_ids: Tensor) -> None:
    seen: dict[tuple[int, ...], str] = {}
    for label, ids in zip(labels, input_ids.tolist(), strict=True):
        first = seen.setdefault(tuple(ids), label)
        if first is not label:
            raise ValueError(
                f"labels must differ for the model, got {first!r} and {label!r}, which it reads "
                "alike. Drop one of them."
            )
