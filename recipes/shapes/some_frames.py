"""Training on some frames of a clip: cheaper, at the positions they have in the whole clip."""

from collections.abc import Sequence

from torch import Tensor

from vidtldr.models.umt.vision import VideoFeatures, VisionEncoder

__all__ = ["embed_frames", "encode_frames"]


def embed_frames(encoder: VisionEncoder, pixel_values: Tensor, frames: Sequence[int]) -> Tensor:
    """Turn some frames of clips into tokens with the positions they have in the whole clip.

    `VisionEncoder.embed` would stretch them over the whole table instead.

    Args:
        encoder: Provides the patch embedding and the position table.
        pixel_values: The frames, shape (B, T, 3, S, S), T = len(frames).
        frames: Their indices in the clip.

    Returns:
        Tokens, shape (B, T * (S/p)^2, C).
    """
    inner = encoder.encoder
    places = inner.positions.unflatten(0, (-1, inner.num_patches))[list(frames)]
    x: Tensor = inner.patch_embed(pixel_values)
    return x + places.flatten(0, 1)


def encode_frames(
    encoder: VisionEncoder, pixel_values: Tensor, frames: Sequence[int]
) -> VideoFeatures:
    """Encode some frames of clips; arguments as `embed_frames`."""
    x = embed_frames(encoder, pixel_values, frames)
    for block in encoder.blocks:
        x = block(x)
    return encoder.pool(x)
