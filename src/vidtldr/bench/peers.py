"""Ways to make UMT's vision encoder cheaper that are set against each other, vid-TLDR among them.

Each says in `to_dict` what it does and makes with `forward_of` a forward of the same weights.

Letters: `B` clips, `T` frames, `S` side of a frame, `P` patches of one frame, `C` channels.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor, nn
from torch.nn import functional as F

from vidtldr.bench.dropping import dropping_twin
from vidtldr.hosts.config import MergeConfig
from vidtldr.hosts.twin import merged_twin
from vidtldr.models.umt.vision import VideoFeatures, VisionEncoder
from vidtldr.video.sampling import middle_indices

__all__ = [
    "FewerFrames",
    "Forward",
    "LowerResolution",
    "Merging",
    "Peer",
    "RandomDropping",
    "Unmerged",
]

Forward = Callable[[Tensor], VideoFeatures]


class Peer(Protocol):
    """One way at one setting."""

    def to_dict(self) -> dict[str, Any]:
        """What it does, ready for JSON; two that do the same are equal."""

    def __hash__(self) -> int:
        """Peers are keys of what is known about them."""

    def forward_of(self, encoder: VisionEncoder) -> Forward:
        """A forward of normalised clips (B, T, 3, S, S) with the weights of `encoder`.

        What it draws by chance comes from torch's global generator.
        """


@dataclass(frozen=True)
class Unmerged:
    """The encoder as it is."""

    def to_dict(self) -> dict[str, Any]:
        """Its kind alone."""
        return {"kind": "unmerged"}

    def forward_of(self, encoder: VisionEncoder) -> Forward:
        """The encoder's own forward."""
        return encoder.__call__


@dataclass(frozen=True)
class Merging:
    """Merging of tokens, by whatever score and metric.

    Attributes:
        config: What to merge, as counts.
    """

    config: MergeConfig

    def to_dict(self) -> dict[str, Any]:
        """The fields of the config."""
        return {"kind": "merging", **self.config.to_dict()}

    def twin_of(self, model: nn.Module) -> nn.Module:
        """A patched twin of an unpatched model of any family."""
        return merged_twin(model, self.config)

    def forward_of(self, encoder: VisionEncoder) -> Forward:
        """The twin's forward."""
        forward: Forward = self.twin_of(encoder).__call__
        return forward


@dataclass(frozen=True)
class RandomDropping:
    """Tokens drawn by chance vanish where others merge: between attention and MLP, without mass.

    Attributes:
        r: Tokens that each layer drops; missing layers drop none.
    """

    r: tuple[int, ...]

    def to_dict(self) -> dict[str, Any]:
        """The counts."""
        return {"kind": "random dropping", "r": list(self.r)}

    def twin_of(self, model: nn.Module) -> nn.Module:
        """A twin of an unpatched model of any family, see `dropping_twin`."""
        return dropping_twin(model, self.r)

    def forward_of(self, encoder: VisionEncoder) -> Forward:
        """The twin's forward."""
        forward: Forward = self.twin_of(encoder).__call__
        return forward


@dataclass(frozen=True)
class FewerFrames:
    """Frames at equal distances; positions are interpolated in time, as the model does it itself.

    Attributes:
        num_frames: How many are left.
    """

    num_frames: int

    def to_dict(self) -> dict[str, Any]:
        """The number of frames."""
        return {"kind": "fewer frames", "num_frames": self.num_frames}

    def forward_of(self, encoder: VisionEncoder) -> Forward:
        """The encoder's own forward on the middle frame of each of `num_frames` equal parts."""

        def forward(pixel_values: Tensor) -> VideoFeatures:
            indices = middle_indices(pixel_values.shape[1], self.num_frames)
            features: VideoFeatures = encoder(pixel_values[:, indices])
            return features

        return forward


@dataclass(frozen=True)
class LowerResolution:
    """Frames shrunk before they are cut into patches; positions are interpolated in space.

    Attributes:
        side: Side of the shrunk frames, pixels, a multiple of the patch's.
    """

    side: int

    def to_dict(self) -> dict[str, Any]:
        """The side."""
        return {"kind": "lower resolution", "side": self.side}

    def forward_of(self, encoder: VisionEncoder) -> Forward:
        """`VisionEncoder.forward` with another grid."""
        table = shrunk_positions(encoder, self.side // encoder.config.patch_size)

        def forward(pixel_values: Tensor) -> VideoFeatures:
            frames = F.interpolate(
                pixel_values.flatten(0, 1), size=self.side, mode="bilinear", antialias=True
            )
            small = frames.view(*pixel_values.shape[:2], *frames.shape[1:])
            x: Tensor = encoder.encoder.patch_embed(small)
            x = x + table.to(x.dtype)
            for block in encoder.blocks:
                x = block(x)
            return encoder.pool(x)

        return forward


def shrunk_positions(encoder: VisionEncoder, grid_side: int) -> Tensor:
    """The position table of a smaller grid, (T * grid_side^2, C), by bilinear interpolation."""
    full_side = encoder.config.image_size // encoder.config.patch_size
    table = encoder.encoder.positions
    table = table.view(-1, full_side, full_side, table.shape[-1])  # (T*P, C) -> grid
    grid = F.interpolate(table.permute(0, 3, 1, 2), size=grid_side, mode="bilinear")
    return grid.permute(0, 2, 3, 1).flatten(0, 2)
