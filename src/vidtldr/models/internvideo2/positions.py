"""Learned positions of InternVideo2 as files hold them, fitted to a number of frames.

Letters: `T` frames, `P` patches of one frame, `C` channels.

Source: OpenGVLab/InternVideo, InternVideo2: models/backbones/internvideo2/pos_embed.py and the
forward of internvideo2.py and internvideo2_clip_vision.py.
"""

import torch
from torch import Tensor

from vidtldr.models.umt.positions import interpolate_positions

__all__ = ["fit_to_frames", "fit_to_image", "join_positions"]


def join_positions(spatial: Tensor, temporal: Tensor, of_class: Tensor) -> Tensor:
    """Add positions in space and in time, which some files hold apart, for every patch.

    Args:
        spatial: Of the patches of a frame, shape (1, P, C).
        temporal: Of the frames, shape (1, T, C).
        of_class: Of the class token, shape (1, 1, C).

    Returns:
        Positions of all tokens, shape (1, 1 + T*P, C).
    """
    patches = (temporal[:, :, None] + spatial[:, None]).flatten(1, 2)  # (1, T, P, C) -> (1, T*P, C)
    return torch.cat([of_class, patches], dim=1)


def fit_to_frames(positions: Tensor, num_patches: int, num_frames: int) -> Tensor:
    """Interpolate positions linearly in time, with frames at the centres of equal intervals.

    Args:
        positions: The class token's and those of T trained frames, shape (1, 1 + T*P, C).
        num_patches: `P`.
        num_frames: Frames wanted, at least 2.

    Returns:
        Positions, shape (1, 1 + num_frames*P, C); the class token's is unchanged.
    """
    of_class, patches = positions[:, :1], positions[:, 1:]
    fitted = interpolate_positions(patches[0], num_patches, num_frames)[None]
    return torch.cat([of_class, fitted], dim=1)


def fit_to_image(positions: Tensor, num_patches: int) -> Tensor:
    """Average positions over time, as the published forward does for a single image.

    Args:
        positions: The class token's and those of T trained frames, shape (1, 1 + T*P, C).
        num_patches: `P`.

    Returns:
        Positions, shape (1, 1 + P, C).
    """
    of_class, patches = positions[:, :1], positions[:, 1:]
    by_frame = patches.reshape(1, -1, num_patches, patches.shape[2])  # (1, T*P, C) -> (1, T, P, C)
    return torch.cat([of_class, by_frame.mean(dim=1)], dim=1)
