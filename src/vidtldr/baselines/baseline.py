"""The compared ways to make UMT's vision encoder cheaper, vid-TLDR among them.

Each describes itself in `to_dict`, and `forward_of` makes a forward with the same weights.

Letters: `B` clips, `T` frames, `S` side of a frame, `P` patches of one frame, `C` channels.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor, nn
from torch.nn import functional as F

from vidtldr.baselines.dropping import dropping_twin
from vidtldr.config import MergeConfig
from vidtldr.models.precision import at_least_float32
from vidtldr.models.umt.vision import VideoFeatures, VisionEncoder
from vidtldr.patch.twin import merged_twin
from vidtldr.video.sampling import middle_indices

__all__ = [
    "FewerFrames",
    "Forward",
    "LowerResolution",
    "Merging",
    "RandomDropping",
    "Unmerged",
    "Variant",
]

Forward = Callable[[Tensor], VideoFeatures]


class Variant(Protocol):
    """One method at one setting."""

    def to_dict(self) -> dict[str, Any]:
        """Describe the variant, ready for JSON; equivalent variants have equal descriptions."""

    def __hash__(self) -> int:
        """Hash the variant, so that it can be a dictionary key."""

    def forward_of(self, encoder: VisionEncoder) -> Forward:
        """Make a forward of normalised clips (B, T, 3, S, S) with the weights of `encoder`.

        Random draws come from torch's global generator.
        """


@dataclass(frozen=True)
class Unmerged:
    """The encoder as it is."""

    def to_dict(self) -> dict[str, Any]:
        """Return only its kind."""
        return {"kind": "unmerged"}

    def forward_of(self, encoder: VisionEncoder) -> Forward:
        """Return the encoder's own forward."""
        return encoder.__call__


@dataclass(frozen=True)
class Merging:
    """Token merging, with any score and metric.

    Attributes:
        config: What to merge, as counts.
    """

    config: MergeConfig

    def to_dict(self) -> dict[str, Any]:
        """Return the fields of the config."""
        return {"kind": "merging", **self.config.to_dict()}

    def twin_of(self, model: nn.Module) -> nn.Module:
        """Make a patched twin of an unpatched model of any family."""
        return merged_twin(model, self.config)

    def forward_of(self, encoder: VisionEncoder) -> Forward:
        """Return the twin's forward."""
        forward: Forward = self.twin_of(encoder).__call__
        return forward


@dataclass(frozen=True)
class RandomDropping:
    """Random dropping of tokens where others merge: between attention and MLP, without mass.

    Attributes:
        r: Tokens that each layer drops; missing layers drop none.
    """

    r: tuple[int, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the counts."""
        return {"kind": "random dropping", "r": list(self.r)}

    def twin_of(self, model: nn.Module) -> nn.Module:
        """Make a twin of an unpatched model of any family; see `dropping_twin`."""
        return dropping_twin(model, self.r)

    def forward_of(self, encoder: VisionEncoder) -> Forward:
        """Return the twin's forward."""
        forward: Forward = self.twin_of(encoder).__call__
        return forward


@dataclass(frozen=True)
class FewerFrames:
    """Evenly spaced frames; positions are interpolated in time, as the model itself does.

    Attributes:
        num_frames: Frames that are left.
    """

    num_frames: int

    def to_dict(self) -> dict[str, Any]:
        """Return the number of frames."""
        return {"kind": "fewer frames", "num_frames": self.num_frames}

    def forward_of(self, encoder: VisionEncoder) -> Forward:
        """Make a forward on the middle frame of each of `num_frames` equal parts."""

        def forward(pixel_values: Tensor) -> VideoFeatures:
            indices = middle_indices(pixel_values.shape[1], self.num_frames)
            features: VideoFeatures = encoder(pixel_values[:, indices])
            return features

        return forward


@dataclass(frozen=True)
class LowerResolution:
    """Frames shrunk before patch embedding; positions are interpolated in space.

    Attributes:
        side: Side of the shrunk frames, pixels, a multiple of the patch size.
    """

    side: int

    def to_dict(self) -> dict[str, Any]:
        """Return the side."""
        return {"kind": "lower resolution", "side": self.side}

    def forward_of(self, encoder: VisionEncoder) -> Forward:
        """Make `VisionEncoder.forward` with another grid."""
        table = shrunk_positions(encoder, self.side // encoder.config.patch_size)

        def forward(pixel_values: Tensor) -> VideoFeatures:
            frames = at_least_float32(pixel_values.flatten(0, 1))  # the CPU shrinks no halves
            frames = F.interpolate(frames, size=self.side, mode="bilinear", antialias=True)
            small = frames.to(pixel_values.dtype).view(*pixel_values.shape[:2], *frames.shape[1:])
            x: Tensor = encoder.encoder.patch_embed(small)
            x = x + table.to(x.dtype)
            for block in encoder.blocks:
                x = block(x)
            return encoder.pool(x)

        return forward


def shrunk_positions(encoder: VisionEncoder, grid_side: int) -> Tensor:
    """Interpolate the position table bilinearly to a smaller grid, (T * grid_side^2, C)."""
    full_side = encoder.config.image_size // encoder.config.patch_size
    table = encoder.encoder.positions
    table = table.view(-1, full_side, full_side, table.shape[-1])  # (T*P, C) -> grid
    grid = F.interpolate(table.permute(0, 3, 1, 2), size=grid_side, mode="bilinear")
    return grid.permute(0, 2, 3, 1).flatten(0, 2)
