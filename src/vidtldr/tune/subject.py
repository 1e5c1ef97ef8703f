"""The model to tune, and how far its answers drift from the unmerged ones.

Letters: `B` clips, `T` frames, `S` side of a frame, `C` channels of the compared output.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from vidtldr.models.umt.retrieval import UMTRetrieval
from vidtldr.tasks.clip_reader import ClipReader, umt_reader
from vidtldr.tasks.dual_encoder import DualEncoder
from vidtldr.tasks.embed import pretrained_features
from vidtldr.tasks.pretrained import Pretrained
from vidtldr.tasks.text_features import encode_texts, prompt_tokens
from vidtldr.tasks.zero_shot import DualClassifier, TextClassifier
from vidtldr.video.sampling import Sampling

__all__ = [
    "Drift",
    "Subject",
    "caption_subject",
    "dual_subject",
    "label_subject",
    "pretrained_subject",
    "umt_subject",
]


@dataclass(frozen=True)
class Drift:
    """How far one clip's answer moved.

    Attributes:
        amount: 0 for unchanged; 1 for the largest change in probabilities, or for features at a
            right angle.
        is_kept: Whether the top label is still the unmerged model's, or the top caption one of the
            clip's own; None if only features are compared.
    """

    amount: float
    is_kept: bool | None = None


@dataclass(frozen=True)
class Subject:
    """An unmerged model, and which of its outputs are compared.

    Attributes:
        model: On its device, in evaluation mode; contains everything that merges.
        reader: Reads videos as the model expects them.
        read: Runs the model or a twin of it on clips (B, T, 3, S, S) and returns the compared
            output, shape (B, C), float32, on the CPU.
        drift: Compares the output of `read` for one clip, (C,), with the unmerged model's for a
            video.
        describes: What the drift depends on besides weights and reading, ready for JSON.
        kept_name: Table name of the share of clips that keep their answer; None without one.
    """

    model: nn.Module
    reader: ClipReader
    read: Callable[[nn.Module, Tensor], Tensor]
    drift: Callable[[Tensor, Tensor, str], Drift]
    describes: Mapping[str, Any]
    kept_name: str | None = None


def umt_subject(model: UMTRetrieval, time_limit_seconds: float) -> Subject:
    """Compare UMT's video embeddings by cosine."""

    def read(umt: Any, clips: Tensor) -> Tensor:
        found: Tensor = umt.embed_video(umt.encode_video(_like(umt, clips)))
        return found.float().cpu()

    reader = umt_reader(model.config, time_limit_seconds=time_limit_seconds)
    return Subject(model, reader, read, _cosine_drift, {"metric": "feature-cosine"})


def pretrained_subject(pretrained: Pretrained, time_limit_seconds: float) -> Subject:
    """Compare an encoder's vectors, or the input of a classifier's last layer, by cosine."""
    return Subject(
        pretrained.model,
        _reader_of(pretrained, time_limit_seconds),
        pretrained_features,
        _cosine_drift,
        {"metric": "feature-cosine"},
    )


def label_subject(pretrained: Pretrained, time_limit_seconds: float) -> Subject:
    """Compare label probabilities by total variation: half the sum of absolute changes.

    Raises:
        ValueError: If there is only one label: its probability is always 1.
    """
    if len(pretrained.labels) < 2:
        raise ValueError(
            f"--drift-by labels must have two labels or more, got {list(pretrained.labels)}. Write "
            "labels=a,b or name an existing file."
        )

    def drift(merged: Tensor, unmerged: Tensor, _: str) -> Drift:
        return Drift(_variation(merged, unmerged), bool(merged.argmax() == unmerged.argmax()))

    return Subject(
        pretrained.model,
        _reader_of(pretrained, time_limit_seconds),
        _probabilities,
        drift,
        {"metric": "labels", "labels": list(pretrained.labels)},
        "same label",
    )


def caption_subject(
    model: UMTRetrieval, captions: Mapping[str, Sequence[str]], time_limit_seconds: float
) -> Subject:
    """Compare the probabilities of all captions given a video, by total variation.

    Probabilities are the softmax of the cosines over the temperature that the checkpoint learnt.

    Args:
        model: The model, on its device.
        captions: Texts of each video, at least one; they may repeat.
        time_limit_seconds: Time limit for reading one video.

    Raises:
        ValueError: If all captions are the same text: its probability is always 1.
    """
    texts = _different_texts(captions)
    tokens = prompt_tokens(model.tokenizer, texts, "captions")
    encoded = encode_texts(model, tokens)
    # Outside inference mode the copy is an ordinary tensor, which a module can hold.
    embeddings = encoded.row_embeddings[encoded.rows].clone().to(model.temp.device)
    reader = umt_reader(model.config, time_limit_seconds=time_limit_seconds)
    return _captioned(TextClassifier(model, embeddings).eval(), reader, captions, texts)


def dual_subject(
    pretrained: Pretrained,
    dual: DualEncoder,
    captions: Mapping[str, Sequence[str]],
    time_limit_seconds: float,
) -> Subject:
    """As `caption_subject`, with a dual encoder of transformers.

    Args:
        pretrained: The model, on its device.
        dual: The same with its tokenizer.
        captions: As in `caption_subject`.
        time_limit_seconds: Time limit for reading one video.

    Raises:
        ValueError: As `caption_subject`.
    """
    texts = _different_texts(captions)
    classifier = DualClassifier(dual, dual.encode_typed(texts, "captions")).eval()
    return _captioned(classifier, _reader_of(pretrained, time_limit_seconds), captions, texts)


def _different_texts(captions: Mapping[str, Sequence[str]]) -> list[str]:
    texts = list(dict.fromkeys(text for own in captions.values() for text in own))
    if len(texts) < 2:
        raise ValueError(
            f"--drift-by retrieval must have two captions or more that differ, got {texts}. Add "
            "videos, or use feature-cosine."
        )
    return texts


def _captioned(
    classifier: nn.Module,
    reader: ClipReader,
    captions: Mapping[str, Sequence[str]],
    texts: Sequence[str],
) -> Subject:
    own_texts = {video: {texts.index(text) for text in own} for video, own in captions.items()}

    def drift(merged: Tensor, unmerged: Tensor, video: str) -> Drift:
        return Drift(_variation(merged, unmerged), int(merged.argmax()) in own_texts[video])

    by_name = sorted((os.path.basename(video), list(own)) for video, own in captions.items())
    described = {"metric": "retrieval", "captions": by_name}
    return Subject(classifier, reader, _probabilities, drift, described, "R@1")


def _probabilities(model: nn.Module, clips: Tensor) -> Tensor:
    logits: Tensor = model(pixel_values=_like(model, clips)).logits
    return logits.float().cpu().softmax(dim=-1)


def _cosine_drift(merged: Tensor, unmerged: Tensor, _: str) -> Drift:
    return Drift(1 - F.cosine_similarity(merged.double(), unmerged.double(), dim=0).item())


def _variation(merged: Tensor, unmerged: Tensor) -> float:
    return (merged.double() - unmerged.double()).abs().sum().item() / 2


def _like(model: nn.Module, clips: Tensor) -> Tensor:
    parameter = next(model.parameters())
    return clips.to(parameter.device, parameter.dtype)


def _reader_of(pretrained: Pretrained, time_limit_seconds: float) -> ClipReader:
    sampling = Sampling(pretrained.num_frames)
    return ClipReader(sampling, pretrained.transform, time_limit_seconds=time_limit_seconds)
