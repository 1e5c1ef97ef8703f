"""The model that `vidtldr show` shows, and how its answers are read.

Letters: `B` clips, `T` frames, `S` side of a frame.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor, nn

from vidtldr.cli.ask import answer_candidates
from vidtldr.cli.load_pretrained import load_pretrained
from vidtldr.cli.load_umt_model import load_answering, load_retrieval
from vidtldr.cli.show_options import AskedOptions
from vidtldr.cli.text import printable
from vidtldr.cli.umt_options import UMTOptions
from vidtldr.models.umt.vision import VideoFeatures
from vidtldr.tasks.ask import answer_tokens, rank
from vidtldr.tasks.classify import top_labels
from vidtldr.tasks.clip_reader import umt_reader
from vidtldr.tasks.text_features import encode_texts, match_scores, prompt_tokens
from vidtldr.tasks.video_features import VideoEncoding
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
    """A model, unmerged, and what to do with it.

    Attributes:
        model: On its device.
        transform: Frames to pixels.
        num_frames: Frames that it takes.
        asked: What its answers answer.
        forward: Runs the part that sees the video, given the model or its merged twin.
        read: What `forward` returned as answers.
        caveat: What must be known before an answer is believed; may be empty.
        are_answers_meant: Whether the answers tell anything of any clip.
    """

    model: nn.Module
    transform: VideoTransform
    num_frames: int
    asked: str
    forward: Callable[[nn.Module, Tensor], Any]
    read: Callable[[Any], list[Answer]]
    caveat: str = ""
    are_answers_meant: bool = True


def load_subject(umt: UMTOptions, asked: AskedOptions, preset: str | None) -> Subject:
    """Load the model that the options name.

    Raises:
        ValueError, TypeError, NotImplementedError, OSError: With what is wrong and what to do.
    """
    if asked.text is not None:
        subject = _searching(umt, asked.text, preset)
    elif asked.question is not None:
        subject = _answering(umt, asked, asked.question, preset)
    else:
        subject = _labelling(umt, asked, preset)
    if not umt.is_bundled:
        return subject
    is_asked = (asked.labels, asked.text, asked.question) != (None, None, None)
    return replace(subject, caveat=BUNDLED_CAVEAT, are_answers_meant=is_asked)


def _labelling(umt: UMTOptions, asked: AskedOptions, preset: str | None) -> Subject:
    pretrained = load_pretrained(umt, asked.labels, preset)

    def read(output: Any) -> list[Answer]:
        logits: Tensor = output.logits[0].float().cpu()
        if not logits.isfinite().all():
            raise FloatingPointError(
                "the model's logits must be finite, got NaN or inf. Use dtype float32."
            )
        best = top_labels(logits.softmax(dim=-1), pretrained.labels, asked.top)
        return [Answer(printable(label.label), f"{label.probability:.1%}") for label in best]

    return Subject(
        pretrained.model,
        pretrained.transform,
        pretrained.num_frames,
        f"Likeliest of {len(pretrained.labels)} labels",
        lambda model, pixel_values: model(pixel_values=pixel_values),
        read,
    )


def _searching(umt: UMTOptions, texts: list[str], preset: str | None) -> Subject:
    model = load_retrieval(umt, preset)
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


def _answering(umt: UMTOptions, asked: AskedOptions, question: str, preset: str | None) -> Subject:
    candidates = answer_candidates(asked.answers, umt)
    model = load_answering(umt, preset)
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
    """The vision encoder alone, in which all merging happens."""
    encoder: Any = model.vision_encoder
    features: VideoFeatures = encoder(pixel_values)
    return features
