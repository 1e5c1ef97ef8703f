"""Models of transformers, called on clips whether they see whole clips or single frames.

Letters: `B` clips, `T` frames of a clip, `S` side of a frame in pixels, `C` channels of a vector,
`K` classes.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

__all__ = [
    "ENCODERS",
    "ClassLogits",
    "ClipClassifier",
    "Encoder",
    "FrameClassifier",
    "VideoEncoder",
    "drop_language_model",
    "mean_of_frames",
]


class Encoder(NamedTuple):
    """How a class of encoders gives its vectors.

    Attributes:
        sees: `"frames"`, shape (B*T, 3, S, S), or whole `"clips"`, shape (B, T, 3, S, S).
        vector: Runs the model and returns one vector for each, shape (B*T, C) or (B, C).
        channels: Name of the config's field that is C.
        reads_texts: Whether it has a text tower that shares the space of its vectors.
    """

    sees: Literal["frames", "clips"]
    vector: Callable[[Any, Tensor], Tensor]
    channels: str = "hidden_size"
    reads_texts: bool = False


def _image_features(model: Any, x: Tensor) -> Tensor:
    features: Tensor = model.get_image_features(pixel_values=x).pooler_output
    return features


def _video_features(model: Any, x: Tensor) -> Tensor:
    features: Tensor = model.get_video_features(pixel_values=x).pooler_output
    return features


def _image_embeds(model: Any, x: Tensor) -> Tensor:
    features: Tensor = model(pixel_values=x).image_embeds
    return features


def _pooled(model: Any, x: Tensor) -> Tensor:
    features: Tensor = model(pixel_values=x).pooler_output
    return features


def _class_token(model: Any, x: Tensor) -> Tensor:
    features: Tensor = model(pixel_values=x).last_hidden_state[:, 0]
    return features


def _mean_of_tokens(model: Any, x: Tensor) -> Tensor:
    features: Tensor = model(pixel_values=x).last_hidden_state
    return features.mean(dim=1)


def _mean_of_places(model: Any, x: Tensor) -> Tensor:
    features: Tensor = model.get_vision_features(x)
    return features.mean(dim=1)


def _visual_tokens_of_images(model: Any, x: Tensor) -> Tensor:
    return _mean_of_each(model.model.get_image_features(pixel_values=x).pooler_output)


def _visual_tokens_of_videos(model: Any, x: Tensor) -> Tensor:
    """As above, of a model that treats videos otherwise: here, clips of one frame."""
    found = model.model.get_video_features(pixel_values_videos=x[:, None])
    return _mean_of_each(found.pooler_output)


def _mean_of_each(tokens: Iterable[Tensor]) -> Tensor:
    return torch.stack([of_frame.mean(dim=-2) for of_frame in tokens])


#: Video language models, as encoders: the mean of the tokens that the language model would read of
#: a frame. Only the tower and what projects its tokens are kept.
_TOWERS: Mapping[str, Encoder] = {
    name: Encoder("frames", vector, "text_config.hidden_size")
    for name, vector in {
        "LlavaForConditionalGeneration": _visual_tokens_of_images,
        "InternVLForConditionalGeneration": _visual_tokens_of_images,
        "LlavaOnevisionForConditionalGeneration": _visual_tokens_of_videos,
        "LlavaNextVideoForConditionalGeneration": _visual_tokens_of_videos,
        "VideoLlavaForConditionalGeneration": _visual_tokens_of_videos,
    }.items()
}

#: Classes of transformers that are no classifiers.
ENCODERS: Mapping[str, Encoder] = {
    "CLIPModel": Encoder("frames", _image_features, "projection_dim", True),
    "CLIPVisionModel": Encoder("frames", _pooled),
    "CLIPVisionModelWithProjection": Encoder("frames", _image_embeds, "projection_dim"),
    "MetaClip2Model": Encoder("frames", _image_features, "projection_dim", True),
    "MetaClip2VisionModel": Encoder("frames", _pooled),
    "MetaClip2VisionModelWithProjection": Encoder("frames", _image_embeds, "projection_dim"),
    "SiglipModel": Encoder("frames", _image_features, "vision_config.hidden_size", True),
    "SiglipVisionModel": Encoder("frames", _pooled),
    "XCLIPModel": Encoder("clips", _video_features, "projection_dim", True),
    "Dinov2Model": Encoder("frames", _pooled),
    "Dinov2WithRegistersModel": Encoder("frames", _pooled),
    "DINOv3ViTModel": Encoder("frames", _pooled),
    # Their poolers are left over from pretraining, if the checkpoint has them at all.
    "ViTModel": Encoder("frames", _class_token),
    "DeiTModel": Encoder("frames", _class_token),
    "VivitModel": Encoder("clips", _class_token),
    "VideoMAEModel": Encoder("clips", _mean_of_tokens),
    "VJEPA2Model": Encoder("clips", _mean_of_places),
    **_TOWERS,
}


def drop_language_model(model: Any) -> None:
    """Free the language model of one of `ENCODERS` that has one, in place."""
    if type(model).__name__ in _TOWERS:
        model.model.language_model = nn.Identity()
        model.lm_head = nn.Identity()


class VideoEncoder(nn.Module):
    """An encoder that gives one vector per clip.

    Where it sees single frames, their vectors are averaged before anything else is done with them,
    as ViFi-CLIP does.

    Args:
        model: Of a class in `ENCODERS`.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    @property
    def kind(self) -> Encoder:
        """How the model gives its vectors."""
        return ENCODERS[type(self.model).__name__]

    @property
    def config(self) -> Any:
        """The model's own."""
        return self.model.config

    @property
    def num_channels(self) -> int:
        """C."""
        return int(attrgetter(self.kind.channels)(self.config))

    def forward(self, pixel_values: Tensor) -> Tensor:
        """Encode clips (B, T, 3, S, S) to vectors (B, C), not normalised."""
        if self.kind.sees == "clips":
            return self.kind.vector(self.model, pixel_values)
        vectors = self.kind.vector(self.model, pixel_values.flatten(0, 1))
        return mean_of_frames(vectors, pixel_values.shape[0])


@dataclass(frozen=True)
class ClassLogits:
    """Output in the form of a transformers classifier.

    Attributes:
        logits: Shape (B, K).
        is_sigmoid: Whether each class has a probability of its own, the sigmoid of its logit; else
            they share one, by softmax.
    """

    logits: Tensor
    is_sigmoid: bool = False


class _Classifier(nn.Module):
    """A classifier of transformers behind another way to call it."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    @property
    def classifier(self) -> Any:
        """The model's last layer."""
        return self.model.classifier

    @property
    def config(self) -> Any:
        """The model's own."""
        return self.model.config


class FrameClassifier(_Classifier):
    """An image classifier, called on clips: the logits of their frames are averaged.

    Args:
        model: An image classifier of transformers.
    """

    def forward(self, pixel_values: Tensor) -> ClassLogits:
        """Classify clips (B, T, 3, S, S)."""
        logits = self.model(pixel_values=pixel_values.flatten(0, 1)).logits
        return ClassLogits(mean_of_frames(logits, pixel_values.shape[0]))


class ClipClassifier(_Classifier):
    """A video classifier that names its clips differently.

    Args:
        model: A video classifier of transformers that takes `pixel_values_videos`.
    """

    def forward(self, pixel_values: Tensor) -> ClassLogits:
        """Classify clips (B, T, 3, S, S)."""
        return ClassLogits(self.model(pixel_values_videos=pixel_values).logits)


def mean_of_frames(x: Tensor, num_clips: int) -> Tensor:
    """Average vectors of frames (B*T, C), those of a clip in a row, to (B, C)."""
    return x.view(num_clips, -1, x.shape[-1]).mean(dim=1)
