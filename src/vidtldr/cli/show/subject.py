"""The model that `vidtldr show` shows, and how to read its answers."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor, nn

from vidtldr.cli.ask import answer_candidates
from vidtldr.cli.load_model import load_answering, load_classifier, load_model, load_retrieval
from vidtldr.cli.model_options import ModelOptions
from vidtldr.cli.show.command import AskedOptions
from vidtldr.cli.terminal import printable
from vidtldr.models.umt.vision import VideoFeatures
from vidtldr.tasks.ask import answer_tokens, rank
from vidtldr.tasks.classify import probabilities_of, top_labels
from vidtldr.tasks.clip_reader import umt_reader
from vidtldr.tasks.dual_encoder import DualEncoder
from vidtldr.tasks.pretrained import Pretrained
from vidtldr.tasks.text_features import encode_texts, match_scores, prompt_tokens
from vidtldr.tasks.video_encoder import ClassLogits, VideoEncoder
from vidtldr.tasks.video_features import VideoEncoding
from vidtldr.tasks.zero_shot import DualClassifier, dual_classifier
from vidtldr.video.transform import VideoTransform
from vidtldr.visualize.report_facts import Answer

__all__ = ["Subject", "load_subject"]

NUM_RANKED = 128
BUNDLED_CAVEAT = (
    "The model is the small one in the package, which knows generated clips of coloured shapes and "
    "nothing else: of any other clip its answers are guesses. What merges and what it costs is as "
    "shown."
)


@dataclass(frozen=True)
class Subject:
    """An unmerged model and how to use it.

    Attributes:
        model: The model, on its device.
        transform: Converts frames to pixels.
        num_frames: Number of frames it takes.
        asked: Description of what its answers refer to.
        forward: Runs the part that sees the video, given the model or its merged copy.
        read: Converts the output of `forward` to answers.
        caveat: A warning about trusting the answers; may be empty.
        are_answers_meant: Whether the answers are meaningful for any clip.
    """

    model: nn.Module
    transform: VideoTransform
    num_frames: int
    asked: str
    forward: Callable[[nn.Module, Tensor], Any]
    read: Callable[[Any], list[Answer]]
    caveat: str = ""
    are_answers_meant: bool = True


def load_subject(spec: ModelOptions, asked: AskedOptions) -> Subject:
    """Load the model that the options name.

    Raises:
        ValueError, TypeError, NotImplementedError, OSError: If an argument, a file or an extra is
            missing or invalid.
    """
    if not spec.is_umt:
        return _of_pretrained(spec, asked)
    if asked.text is not None:
        subject = _searching(spec, asked.text)
    elif asked.question is not None:
        subject = _answering(spec, asked, asked.question)
    else:
        subject = _labelling(load_classifier(spec, asked.label_names), asked)
    if not spec.is_bundled:
        return subject
    is_asked = (asked.labels, asked.text, asked.question) != (None, None, None)
    return replace(subject, caveat=BUNDLED_CAVEAT, are_answers_meant=is_asked)


def _of_pretrained(spec: ModelOptions, asked: AskedOptions) -> Subject:
    """A model of transformers: with labels, with texts, or an encoder with nothing to ask."""
    pretrained, dual = load_model(spec, asked.label_names)
    if asked.text is not None:
        if dual is None:
            raise ValueError(
                "--text must come with a model that reads texts, as UMT, CLIP and SigLIP do, got "
                f"--model {spec.model!r}. Leave it out."
            )
        return _comparing(pretrained, dual, asked.text)
    if dual is not None and asked.label_names is not None:
        return _labelling(dual_classifier(pretrained, dual, asked.label_names), asked)
    if not isinstance(pretrained.model, VideoEncoder):
        return _labelling(pretrained, asked)
    if asked.labels is not None:
        raise ValueError(
            f"--labels must come with a classifier or a model that reads texts, got --model "
            f"{spec.model!r}. Leave them out."
        )
    return Subject(
        pretrained.model,
        pretrained.transform,
        pretrained.num_frames,
        "",
        lambda model, pixel_values: model(pixel_values),
        lambda _: [],
    )


def _comparing(pretrained: Pretrained, dual: DualEncoder, texts: list[str]) -> Subject:
    classifier = DualClassifier(dual, dual.encode_typed(texts, "text")).eval()

    def read(output: ClassLogits) -> list[Answer]:
        cosines = (output.logits[0].float() - classifier.bias) / classifier.scale
        rows = sorted(zip(cosines.tolist(), texts, strict=True), key=lambda row: -row[0])
        return [Answer(printable(text), f"cosine {cosine:.3f}") for cosine, text in rows]

    return Subject(
        classifier,
        pretrained.transform,
        pretrained.num_frames,
        "How well texts fit: cosine of video and text",
        lambda model, pixel_values: model(pixel_values=pixel_values),
        read,
    )


def _labelling(pretrained: Pretrained, asked: AskedOptions) -> Subject:

    def read(output: Any) -> list[Answer]:
        best = top_labels(probabilities_of(output)[0], pretrained.labels, asked.top)
        return [Answer(printable(label.label), f"{label.probability:.1%}") for label in best]

    return Subject(
        pretrained.model,
        pretrained.transform,
        pretrained.num_frames,
        f"Likeliest of {len(pretrained.labels)} labels",
        lambda model, pixel_values: model(pixel_values=pixel_values),
        read,
    )


def _searching(spec: ModelOptions, texts: list[str]) -> Subject:
    model = load_retrieval(spec)
    encoded = encode_texts(model, prompt_tokens(model.tokenizer, texts, "text"))

    def read(features: VideoFeatures) -> list[Answer]:
        embedding = model.embed_video(features).cpu()
        cosines = (embedding @ encoded.row_embeddings.T)[0][encoded.rows].tolist()
        matches = match_scores(model, features.by_clip()[0], encoded, range(len(texts))).tolist()
        rows = sorted(zip(cosines, matches, texts, strict=True), key=lambda row: -row[0])
        return [Answer(printable(text), f"cosine {c:.3f}, match {m:+.2f}") for c, m, text in rows]

    return Subject(
        model,
        umt_reader(model.config).transform,
        model.config.num_frames,
        "How well texts fit: cosine of video and text, and the logit that they match",
        _encode_video,
        read,
    )


def _answering(spec: ModelOptions, asked: AskedOptions, question: str) -> Subject:
    candidates = answer_candidates(asked.answers, spec)
    model = load_answering(spec)
    reader = umt_reader(model.config)
    encoding = VideoEncoding(model, reader)
    tokens = prompt_tokens(model.tokenizer, [question], "question")
    answers = answer_tokens(model, candidates, 5)

    def read(features: VideoFeatures) -> list[Answer]:
        ranked = rank(encoding, features.by_clip()[0], tokens, answers, NUM_RANKED)
        best = zip(ranked.ids[0].tolist(), ranked.probabilities[0].tolist(), strict=True)
        rows = [Answer(printable(candidates[index]), f"{share:.1%}") for index, share in best]
        return rows[: asked.top]

    return Subject(
        model,
        reader.transform,
        model.config.num_frames,
        f"Question: {printable(question)}",
        _encode_video,
        read,
    )


def _encode_video(model: nn.Module, pixel_values: Tensor) -> VideoFeatures:
    """Run only the vision encoder, where all merging happens."""
    encoder: Any = model.vision_encoder
    features: VideoFeatures = encoder(pixel_values)
    return features
