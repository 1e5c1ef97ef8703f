"""Zero-shot classification: clips are compared with the texts of labels.

Letters: `B` clips, `T` frames, `S` side of a frame, `K` labels, `E` channels of the space that
texts share with videos.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from vidtldr.models.umt.retrieval import UMTRetrieval
from vidtldr.tasks.clip_reader import umt_reader
from vidtldr.tasks.dual_encoder import DualEncoder
from vidtldr.tasks.pretrained import Pretrained
from vidtldr.tasks.text_features import encode_texts, prompt_tokens
from vidtldr.tasks.video_encoder import ClassLogits, VideoEncoder

__all__ = [
    "DUAL_TEMPLATE",
    "DualClassifier",
    "TextClassifier",
    "classifier_of_texts",
    "dual_classifier",
    "fill_template",
    "text_classifier",
]

DUAL_TEMPLATE = "a video of {}"


class TextClassifier(nn.Module):
    """A `UMTRetrieval` with fixed labels, called like a video classifier.

    Args:
        umt: The model.
        label_embeddings: Unit vectors of the labels, shape (K, E).
    """

    label_embeddings: Tensor

    def __init__(self, umt: UMTRetrieval, label_embeddings: Tensor) -> None:
        super().__init__()
        self.umt = umt
        self.register_buffer("label_embeddings", label_embeddings.float())

    def forward(self, pixel_values: Tensor) -> ClassLogits:
        """Score clips (B, T, 3, S, S) by cosines divided by the temperature."""
        videos = self.umt.embed_video(self.umt.encode_video(pixel_values))
        return ClassLogits(videos @ self.label_embeddings.T / self.umt.temp.float())


class DualClassifier(nn.Module):
    """A dual encoder of transformers with fixed labels, called like a video classifier.

    Args:
        dual: The model.
        label_embeddings: Unit vectors of the labels, shape (K, E).
    """

    label_embeddings: Tensor
    scale: Tensor
    bias: Tensor

    def __init__(self, dual: DualEncoder, label_embeddings: Tensor) -> None:
        super().__init__()
        self.encoder = dual.encoder
        self.is_sigmoid = dual.is_sigmoid
        device = next(dual.encoder.parameters()).device
        self.register_buffer("label_embeddings", label_embeddings.float().to(device))
        self.register_buffer("scale", dual.scale)
        self.register_buffer("bias", dual.bias)

    def forward(self, pixel_values: Tensor) -> ClassLogits:
        """Score clips (B, T, 3, S, S) by cosines, scaled and shifted as in training."""
        videos = F.normalize(self.encoder(pixel_values).float(), dim=-1)
        cosines = videos @ self.label_embeddings.T
        return ClassLogits(cosines * self.scale + self.bias, self.is_sigmoid)


class XCLIPClassifier(nn.Module):
    """An X-CLIP with fixed labels: their texts are read together with each clip.

    X-CLIP moves the vector of a text by what it sees in the clip, so the host's own forward runs.

    Args:
        encoder: The model.
        tokens: Arguments of its text tower, shape (K, L).
    """

    def __init__(self, encoder: VideoEncoder, tokens: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.encoder = encoder
        self.names = tuple(tokens)
        device = next(encoder.parameters()).device
        for name, x in tokens.items():
            self.register_buffer(name, x.to(device))

    def forward(self, pixel_values: Tensor) -> ClassLogits:
        """Score clips (B, T, 3, S, S)."""
        tokens: dict[str, Any] = {name: getattr(self, name) for name in self.names}
        output = self.encoder.model(pixel_values=pixel_values, **tokens)
        return ClassLogits(output.logits_per_video)


def fill_template(template: str, labels: Sequence[str]) -> list[str]:
    """Write each label into a prompt.

    Raises:
        ValueError: If the template has not exactly one `{}`.
    """
    if template.count("{}") != 1:
        raise ValueError(
            f"`template` must have one {{}}, where the label goes, got {template!r}. Write "
            f"{DUAL_TEMPLATE!r}."
        )
    before, after = template.split("{}")
    return [f"{before}{label}{after}" for label in labels]


def dual_classifier(
    pretrained: Pretrained,
    dual: DualEncoder,
    labels: Sequence[str],
    template: str | None = None,
) -> Pretrained:
    """Make a zero-shot classifier from a dual encoder of transformers and labels.

    Probabilities are the softmax of the logits. SigLIP was trained to judge each pair by itself:
    each of its labels has a probability of its own, the sigmoid of its logit.

    Args:
        pretrained: The model, on its device.
        dual: The same with its tokenizer.
        labels: Names of the classes, at least two.
        template: Prompt with one `{}` for the label; None for `DUAL_TEMPLATE`.

    Raises:
        ValueError: If there are fewer than two labels, one is empty or too long, two are alike for
            the model, or the template has not one `{}`.
    """
    _validate_several(labels)
    prompts = fill_template(DUAL_TEMPLATE if template is None else template, labels)
    dual.validate(prompts, "labels")
    _validate_different(labels, dual.tokenize(prompts)["input_ids"])
    return replace(classifier_of_texts(pretrained, dual, prompts), labels=tuple(labels))


def classifier_of_texts(
    pretrained: Pretrained, dual: DualEncoder, texts: Sequence[str]
) -> Pretrained:
    """Make a classifier whose classes are texts, cut at the model's longest.

    Args:
        pretrained: The model, on its device.
        dual: The same with its tokenizer.
        texts: The texts, K of them; its logits are those of a clip and each.
    """
    if hasattr(dual.encoder.model, "prompts_generator"):
        classifier: nn.Module = XCLIPClassifier(dual.encoder, dual.tokenize(texts))
    else:
        classifier = DualClassifier(dual, dual.encode_texts(texts))
    return replace(pretrained, model=classifier.eval(), labels=tuple(texts))


def text_classifier(
    model: UMTRetrieval, labels: Sequence[str], template: str | None = None
) -> Pretrained:
    """Make a zero-shot classifier from a UMT model and labels.

    A label is its own prompt unless there is a template; prompts are cleaned as captions are.
    Probabilities are the softmax of the cosine similarities divided by the checkpoint's learnt
    temperature (about 0.01 to 0.07), as the authors' code does for the choices of multiple-choice
    questions. They have no program that classifies by labels, so there is no number of theirs to
    compare with.

    Args:
        model: The model, on its device.
        labels: Names of the classes, at least two.
        template: Prompt with one `{}` for the label; None for just the label.

    Raises:
        ValueError: If there are fewer than two labels, one is empty or too long, or two are alike
            once cleaned and tokenized.
    """
    _validate_several(labels)
    prompts = labels if template is None else fill_template(template, labels)
    tokens = prompt_tokens(model.tokenizer, prompts, "labels")
    _validate_different(labels, tokens.input_ids)
    texts = encode_texts(model, tokens)
    # Outside inference mode the copy is an ordinary tensor, which a module may hold.
    embeddings = texts.row_embeddings[texts.rows].clone().to(model.temp.device)
    reader = umt_reader(model.config)
    classifier = TextClassifier(model, embeddings).eval()
    num_frames = model.config.num_frames
    return Pretrained(classifier, reader.transform, tuple(labels), num_frames, reader.note)


def _validate_several(labels: Sequence[str]) -> None:
    if len(labels) < 2:
        raise ValueError(
            f"labels must be two or more, as a single one always has 100 %, got {list(labels)!r}. "
            "Add others."
        )


def _validate_different(labels: Sequence[str], input_ids: Tensor) -> None:
    seen: dict[tuple[int, ...], str] = {}
    for label, ids in zip(labels, input_ids.tolist(), strict=True):
        first = seen.setdefault(tuple(ids), label)
        if first is not label:
            raise ValueError(
                f"labels must differ for the model, got {first!r} and {label!r}, which it reads "
                "alike. Drop one of them."
            )
