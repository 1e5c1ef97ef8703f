"""Models with random weights, by name, for timing without a checkpoint."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from vidtldr.hosts.registry import find_host
from vidtldr.measure.fork_rng import fork_rng
from vidtldr.tasks.config_sizes import MAX_TOKENS
from vidtldr.tasks.video_encoder import VideoEncoder

__all__ = ["BUILT_IN", "Subject", "build_subject", "scaled_schedule", "spread_out_attention"]


@dataclass(frozen=True)
class Subject:
    """A model and its input shape.

    Attributes:
        model: The transformer, in evaluation mode, unpatched, float32.
        input_shape: Shape of one clip or image: (T, 3, S, S), or (3, S, S).
        r: A schedule that suits it.
    """

    model: nn.Module
    input_shape: tuple[int, ...]
    r: tuple[int, ...]

    @property
    def num_frames(self) -> int:
        """Frames of a clip; 1 for an image."""
        return self.input_shape[0] if len(self.input_shape) == 4 else 1

    @property
    def image_size(self) -> int:
        """Side of a frame, pixels."""
        return self.input_shape[-1]

    def pixel_values(self, batch: int) -> Tensor:
        """Make seeded random input on the model's device."""
        generator = torch.Generator().manual_seed(0)
        x = torch.randn(batch, *self.input_shape, generator=generator)
        return x.to(next(self.model.parameters()).device)


@dataclass(frozen=True)
class _BuiltIn:
    build: Callable[[int, int], nn.Module]
    num_frames: int
    r: tuple[int, ...]
    num_tokens: int
    patch_size: int = 16
    tubelet_size: int = 1
    image_size: int = 224


def build_subject(
    name: str, num_frames: int | None = None, image_size: int | None = None
) -> Subject:
    """Build a model with seeded random weights.

    Args:
        name: One of `BUILT_IN`.
        num_frames: Frames; None for the model's own.
        image_size: Side of a frame, pixels; None for the model's own.

    Raises:
        ValueError: If an image model is given frames, a size does not fit, or there are too many
            tokens.
    """
    built_in = BUILT_IN[name]
    if built_in.num_frames == 1 and num_frames not in (None, 1):
        raise ValueError(
            f"`frames` must be left out for {name}, which reads images, got {num_frames}. Leave it "
            "out."
        )
    frames = num_frames or built_in.num_frames
    side = image_size or built_in.image_size
    patch = built_in.patch_size
    if side % patch:
        raise ValueError(
            f"`sizes` must be multiples of {patch} for {name}, got {side}. Use "
            f"{patch * max(1, round(side / patch))}."
        )
    if frames % built_in.tubelet_size:
        raise ValueError(
            f"`frames` must be multiples of {built_in.tubelet_size} for {name}, got {frames}. Use "
            f"{frames + 1}."
        )
    num_tokens = frames // built_in.tubelet_size * (side // patch) ** 2
    if num_tokens > MAX_TOKENS:
        raise ValueError(
            f"`frames` and `sizes` must make at most {MAX_TOKENS} tokens for {name}, got "
            f"{num_tokens} from {frames} x {side}². Lower one."
        )
    with fork_rng(torch.device("cpu")):
        torch.manual_seed(0)
        model = spread_out_attention(built_in.build(frames, side).eval())
    shape = (3, side, side) if built_in.num_frames == 1 else (frames, 3, side, side)
    return Subject(model, shape, scaled_schedule(model, built_in.r, built_in.num_tokens))


def scaled_schedule(
    model: nn.Module, r: tuple[int, ...] = (600, 200, 100), num_tokens: int = 2352
) -> tuple[int, ...]:
    """Scale a schedule for `num_tokens` to the number of tokens of a model."""
    host = find_host(model)
    if host.num_mergeable is None:
        raise ValueError(
            "model must have a fixed number of tokens for a schedule of its own, got one whose "
            "input decides. Pass `r` or `ratio`."
        )
    return tuple(each * host.num_mergeable // num_tokens for each in r)


def spread_out_attention(model: nn.Module) -> nn.Module:
    """Scale up queries and keys: with default initialisation attention is uniform."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith(("query.weight", "key.weight", "q_proj.weight", "k_proj.weight")):
                parameter.mul_(4)
            elif name.endswith("qkv.weight"):
                parameter[: 2 * parameter.shape[1]].mul_(4)
    return model


def _umt(size: str) -> Callable[[int, int], nn.Module]:
    def build(num_frames: int, image_size: int) -> nn.Module:
        from dataclasses import replace

        from vidtldr.models.umt import UMTConfig, build_vision_encoder

        named: Any = size
        config = UMTConfig.named(named)
        return build_vision_encoder(replace(config, num_frames=num_frames, image_size=image_size))

    return build


def _videomae(**sizes: int) -> Callable[[int, int], nn.Module]:
    """Build VideoMAE-B, or a variant with other `sizes`."""

    def build(num_frames: int, image_size: int) -> nn.Module:
        from transformers import VideoMAEConfig, VideoMAEForVideoClassification

        clip = {"num_frames": num_frames, "image_size": image_size}
        model: nn.Module = VideoMAEForVideoClassification(
            VideoMAEConfig(num_labels=400, **clip, **sizes)
        )
        return model

    return build


_VIDEOMAE_L = {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16}
_VIDEOMAE_L |= {"intermediate_size": 4096}


def _vit(_: int, image_size: int) -> nn.Module:
    try:
        import timm
    except ImportError as error:
        raise ImportError(
            "model vit-b must have timm, which is not installed. Run pip install 'vidtldr[timm]'."
        ) from error
    model: nn.Module = timm.create_model("vit_base_patch16_224", img_size=image_size)
    return model


def _clip(_: int, image_size: int) -> nn.Module:
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    model: nn.Module = CLIPVisionModelWithProjection(
        CLIPVisionConfig(patch_size=16, image_size=image_size)
    )
    return model


def _siglip(_: int, image_size: int) -> nn.Module:
    from transformers import SiglipVisionConfig, SiglipVisionModel

    model: nn.Module = SiglipVisionModel(SiglipVisionConfig(patch_size=16, image_size=image_size))
    return model


def _dinov2(_: int, image_size: int) -> nn.Module:
    from transformers import Dinov2Config, Dinov2Model

    model: nn.Module = Dinov2Model(Dinov2Config(patch_size=14, image_size=image_size))
    return model


def _vjepa2(num_frames: int, image_size: int) -> nn.Module:
    from transformers import VJEPA2Config, VJEPA2Model

    return VideoEncoder(VJEPA2Model(VJEPA2Config(frames_per_clip=num_frames, crop_size=image_size)))


#: Sizes of published models, without their weights.
BUILT_IN: Mapping[str, _BuiltIn] = {
    "umt-b16": _BuiltIn(_umt("b16"), 12, (600, 200, 100), 2352),
    "umt-l16": _BuiltIn(_umt("l16"), 12, (550, 400), 2352),
    "videomae-b": _BuiltIn(_videomae(), 16, (600, 200, 100), 1568, tubelet_size=2),
    "videomae-l": _BuiltIn(_videomae(**_VIDEOMAE_L), 16, (600, 200, 100), 1568, tubelet_size=2),
    "vjepa2-l": _BuiltIn(_vjepa2, 64, (3000, 1000, 500), 8192, tubelet_size=2, image_size=256),
    "vit-b": _BuiltIn(_vit, 1, (75, 25, 12), 196),
    "clip-b16": _BuiltIn(_clip, 1, (75, 25, 12), 196),
    "siglip-b16": _BuiltIn(_siglip, 1, (75, 25, 12), 196),
    "dinov2-b14": _BuiltIn(_dinov2, 1, (500, 175, 90), 1369, patch_size=14, image_size=518),
}
