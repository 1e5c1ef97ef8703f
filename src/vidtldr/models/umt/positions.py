"""The fixed sine-cosine table of UMT's positions.

Letters: `T` frames, `P` patches of one frame, `C` channels.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["interpolate_positions", "sine_cosine_positions"]


def sine_cosine_positions(num_positions: int, num_channels: int) -> Tensor:
    """Return the table of Vaswani et al.: sines in even channels, cosines in odd ones.

    Channels `2i` and `2i + 1` have the angle `position / 10000^(2i / C)`. Angles are computed in
    float64.

    Returns:
        Table, shape (num_positions, num_channels), float32.
    Source: Vaswani et al., 2017, section 3.5.
    """
    channel = torch.arange(num_channels, dtype=torch.float64, device="cpu")
    period = 10000 ** (2 * (channel // 2) / num_channels)
    position = torch.arange(num_positions, dtype=torch.float64, device="cpu")
    angle = position[:, None] / period
    return torch.where(channel % 2 == 0, angle.sin(), angle.cos()).float()


def interpolate_positions(table: Tensor, num_patches: int, num_frames: int) -> Tensor:
    """Fit the table to a clip with another number of frames.

    One frame is an image: it gets the first frame's rows unchanged, as in training. Otherwise each
    patch's row is interpolated linearly in time, in float32, with frames at the centres of equal
    intervals.

    Args:
        table: Table of the trained number of frames, shape (T*P, C).
        num_patches: `P`, patches of one frame.
        num_frames: Frames wanted, at least 1.

    Returns:
        Table, shape (num_frames*P, C), dtype of `table`.
    """
    if num_frames == 1:
        return table[:num_patches]
    num_trained = table.shape[0] // num_patches
    if num_frames == num_trained:
        return table
    by_frame = table.float().reshape(1, num_trained, -1).transpose(1, 2)  # (T*P, C) -> (1, P*C, T)
    fitted = F.interpolate(by_frame, size=num_frames, mode="linear", align_corners=False)
    return fitted.transpose(1, 2).reshape(num_frames * num_patches, -1).to(table.dtype)
