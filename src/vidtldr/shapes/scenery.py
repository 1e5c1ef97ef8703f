"""The background, and what a camera and a codec do to the picture.

Letters: `B` clips, `T` frames, `S` side of a frame, `G` side of the canvas behind it.
"""

from math import pi

import torch
from torch import Tensor
from torch.nn import functional as F

from vidtldr.shapes.draws import Draws
from vidtldr.shapes.factors import Split

__all__ = ["add_noise", "camera_shake", "compress", "draw_background", "light"]

# Patterns that each split draws from; `unseen` differs from training only in its factors.
PATTERNS: dict[Split, tuple[str, ...]] = {
    "train": ("clouds", "stripes", "gradient"),
    "validation": ("checks",),
    "test": ("rings", "waves"),
    "unseen": ("clouds", "stripes", "gradient"),
}
MAX_DRIFT = 8.0  # pixels that a background drifts in a clip, each way from the middle
MAX_SHAKE = 1.5


def camera_shake(draws: Draws, num_frames: int) -> Tensor:
    """Shift of the whole picture in every frame, pixels, shape (B, T, 2)."""
    return draws.between("shake", -MAX_SHAKE, MAX_SHAKE, num_frames, 2)


def draw_background(draws: Draws, split: Split, shake: Tensor, time: Tensor, side: int) -> Tensor:
    """Draw a texture with clutter for each clip and let it drift behind the objects.

    Args:
        draws: Random numbers of the clips.
        split: Whose patterns to use.
        shake: Shift of the picture, shape (B, T, 2).
        time: Time of each frame, from -1 to 1, shape (T,).
        side: `S`.

    Returns:
        Frames in [0, 1], shape (B, T, 3, S, S).
    """
    reach = int(MAX_DRIFT + MAX_SHAKE) + 2
    canvas = _add_clutter(draws, _texture(draws, split, side + 2 * reach))
    drift = draws.between("drift", -MAX_DRIFT, MAX_DRIFT, 1, 2) * time[:, None]
    offset = (drift - shake + reach).round().long()  # whole pixels, so nothing is blurred
    return _windows(canvas, offset, side)


def _windows(canvas: Tensor, offset: Tensor, side: int) -> Tensor:
    """Cut (B, 3, G, G) at offsets (B, T, 2), x first, to (B, T, 3, S, S)."""
    steps = torch.arange(side, device=canvas.device)
    columns = offset[..., 0, None] + steps  # (B, T, S)
    rows = offset[..., 1, None] + steps
    clip = torch.arange(len(canvas), device=canvas.device)[:, None, None, None]
    return canvas.permute(0, 2, 3, 1)[clip, rows[..., None], columns[:, :, None]].permute(
        0, 1, 4, 2, 3
    )  # (B, T, S, S, 3) -> (B, T, 3, S, S)


def _texture(draws: Draws, split: Split, side: int) -> Tensor:
    """Two muted colours mixed by a pattern and by clouds, (B, 3, G, G)."""
    names = PATTERNS[split]
    which = draws.integer("pattern", len(names))[:, None, None]
    grid = _grid(draws, side)
    pattern = torch.zeros_like(grid[0])
    for i, name in enumerate(names):
        pattern = torch.where(which == i, _pattern(name, draws, grid), pattern)
    clouds = _clouds(draws, side)
    mix = (0.55 * pattern + 0.75 * (clouds - 0.5) + 0.25)[:, None].clamp(0, 1)
    palette = draws.between("palette", 0.1, 0.9, 2, 3)
    palette = 0.45 * palette + 0.55 * palette.mean(dim=-1, keepdim=True)
    dark, bright = palette[..., None, None].unbind(1)
    return dark + (bright - dark) * mix


def _grid(draws: Draws, side: int) -> tuple[Tensor, Tensor]:
    """Coordinates rotated by a per-clip angle, in pixels from the middle, two (B, G, G)."""
    axis = torch.arange(side, device=draws.keys.device) - (side - 1) / 2
    angle = draws.between("angle", 0, 2 * pi, 1, 1)
    x, y = axis[None, None, :], axis[None, :, None]
    return x * angle.cos() + y * angle.sin(), y * angle.cos() - x * angle.sin()


def _pattern(name: str, draws: Draws, grid: tuple[Tensor, Tensor]) -> Tensor:
    """A pattern in [0, 1], (B, G, G)."""
    x, y = grid
    wave = 2 * pi / draws.between("wavelength", 9, 32, 1, 1)
    phase = draws.between("pattern phase", 0, 2 * pi, 1, 1)
    if name == "clouds":
        return torch.full_like(x, 0.5)
    if name == "stripes":
        return 0.5 + 0.5 * (wave * x + phase).sin()
    if name == "gradient":
        return (0.5 + x / x.shape[-1]).clamp(0, 1)
    if name == "checks":
        return 0.5 + 0.5 * ((wave * x + phase).sin() * (wave * y).sin()).sign()
    if name == "rings":
        return 0.5 + 0.5 * (wave * (x.square() + (y - 20 * phase.cos()).square()).sqrt()).sin()
    assert name == "waves"
    return 0.5 + 0.5 * (wave * x + 2 * (wave * y / 2 + phase).sin()).sin()


def _clouds(draws: Draws, side: int) -> Tensor:
    """Smooth noise of two sizes in [0, 1], (B, G, G)."""
    octaves = [
        F.interpolate(draws.uniform(f"clouds {n}", 1, n, n), size=(side, side), mode="bilinear")
        for n in (7, 20)
    ]
    return (0.6 * octaves[0] + 0.4 * octaves[1]).squeeze(1)


def _add_clutter(draws: Draws, canvas: Tensor) -> Tensor:
    """Put specks of any colour in about one in fifteen 5-pixel cells of the canvas."""
    cells = canvas.shape[-1] // 5
    colour = draws.uniform("clutter colour", 3, cells, cells)
    share = (draws.uniform("clutter", 1, cells, cells) < 1 / 15).float()
    colour = F.interpolate(colour, size=canvas.shape[-2:], mode="nearest")
    share = 0.8 * F.interpolate(share, size=canvas.shape[-2:], mode="bilinear")
    return canvas + share * (colour - canvas)


def light(draws: Draws, frames: Tensor, time: Tensor) -> Tensor:
    """Brighten or dim frames (B, T, 3, S, S) over the clip by up to a fifth; same shape."""
    level = draws.between("light", 0.85, 1.1, 1)
    change = draws.between("light change", -0.12, 0.12, 1)
    return frames * (level + change * time)[..., None, None, None]


def add_noise(draws: Draws, frames: Tensor, moments: Tensor) -> Tensor:
    """Add grain: one tile of noise per clip, rolled by another shift in every frame.

    Args:
        draws: Random numbers of the clips.
        frames: Frames in [0, 1], shape (B, T, 3, S, S).
        moments: Index of each frame in its clip, shape (T,).
    """
    side = frames.shape[-1]
    strength = draws.between("grain", 0.0, 0.08, 1, 1)
    tile = (draws.uniform("tile", side, side) - 0.5) * 2 * strength
    grain = torch.stack([tile.roll((37 * t, 53 * t), (1, 2)) for t in moments.tolist()], dim=1)
    return frames + grain[:, :, None]


def compress(draws: Draws, frames: Tensor) -> Tensor:
    """Simulate codec loss: of fine colour, and of fine detail in blocks of 8 x 8.

    Args:
        draws: Random numbers; they decide how coarse each clip is.
        frames: Frames in [0, 1], shape (B, T, 3, S, S), S a multiple of 16.
    """
    step = draws.between("compression", 0.02, 0.12, 1, 1)
    to_luma = torch.tensor([0.299, 0.587, 0.114], device=frames.device)
    luma = torch.einsum("btchw,c->bthw", frames, to_luma)
    chroma = (frames - luma[:, :, None]).flatten(0, 1)
    chroma = F.interpolate(F.avg_pool2d(chroma, 2), scale_factor=2.0).view_as(frames)
    return _quantise(luma, step)[:, :, None] + chroma


def _quantise(luma: Tensor, step: Tensor) -> Tensor:
    """Round the cosine transform of every 8 x 8 block, coarser at high frequencies."""
    basis = _cosines(luma.device)
    blocks = luma.view(*luma.shape[:2], luma.shape[2] // 8, 8, -1, 8).transpose(3, 4)
    spectrum = basis @ blocks @ basis.T  # (B, T, S/8, S/8, 8, 8)
    order = torch.arange(8, device=luma.device)
    steps = step[..., None, None, None] * (1 + order[:, None] + order)
    rounded = basis.T @ ((spectrum / steps).round() * steps) @ basis
    whole: Tensor = rounded.transpose(3, 4).reshape(luma.shape)
    return whole


def _cosines(device: torch.device) -> Tensor:
    """The orthonormal cosine transform of 8 values, (8, 8)."""
    place = torch.arange(8, device=device) + 0.5
    basis = (torch.arange(8, device=device)[:, None] * place * pi / 8).cos() / 2
    basis[0] /= 2**0.5
    return basis
