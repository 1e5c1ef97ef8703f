"""The world of shapes: any clip by its index, drawn on demand.

Letters: `B` clips, `T` frames, `S` side of a frame, `N` patches of a clip, `K` objects (2).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from vidtldr.shapes.draws import Draws
from vidtldr.shapes.factors import Factors, Split, draw_factors
from vidtldr.shapes.motion import Paths, draw_paths
from vidtldr.shapes.outlines import MAP_REACH, distance_maps
from vidtldr.shapes.scenery import add_noise, camera_shake, compress, draw_background, light

__all__ = ["ShapesClips", "ShapesWorld"]

RGB = (
    (0.90, 0.12, 0.12),  # red
    (0.98, 0.55, 0.05),  # orange
    (0.97, 0.93, 0.15),  # yellow
    (0.12, 0.72, 0.18),  # green
    (0.15, 0.90, 0.92),  # cyan
    (0.15, 0.25, 0.92),  # blue
    (0.65, 0.18, 0.85),  # purple
    (0.97, 0.97, 0.97),  # white
)
RIM_PIXELS = 1.5  # a dark rim separates an object from a background of the same colour
RIM_LIGHT = 0.25


@dataclass(frozen=True)
class ShapesClips:
    """A batch of clips and the truth about them.

    Attributes:
        frames: Pixels, shape (B, T, 3, S, S), uint8.
        objects: What each pixel belongs to, shape (B, T, S, S), uint8: 0 for the background, 1 for
            the first object, 2 for the second.
        factors: What the clips show.
        centres: Centre of each object in each frame, x right and y down from the upper left
            corner, pixels, shape (B, T, K, 2), float32; given for absent objects too.
        speeds: Mean speed of each object, pixels per frame, shape (B, K), float32.
    """

    frames: Tensor
    objects: Tensor
    factors: Factors
    centres: Tensor
    speeds: Tensor

    def foreground_patches(self, patch_size: int, share: float = 0.25) -> Tensor:
        """Find the patches that hold enough of an object.

        Args:
            patch_size: Side of a patch, pixels; divides S.
            share: Share of a patch's pixels that must belong to an object.

        Returns:
            Mask in the order of a model's tokens (frame, row, column), shape (B, N), bool.
        """
        return self.patch_objects(patch_size, share) > 0

    def patch_objects(self, patch_size: int, share: float = 0.25) -> Tensor:
        """What each patch belongs to: as `objects`, the object that fills most of the patch.

        Args:
            patch_size: Side of a patch, pixels; divides S.
            share: Share of a patch's pixels that must belong to an object, either of the two.

        Returns:
            0, 1 or 2 in the order of a model's tokens, shape (B, N), int64.
        """
        first, second = (
            F.avg_pool2d((self.objects == k).float(), patch_size).flatten(1) for k in (1, 2)
        )
        larger = torch.where(first >= second, 1, 2)
        return larger.masked_fill(first + second < share, 0)


class ShapesWorld:
    """Clips of one or two coloured shapes over busy, moving backgrounds.

    Clip `i` of a seed and split is the same whenever and wherever it is drawn (up to rounding on
    another kind of device). Splits differ in seeds, backgrounds and combinations of factors.

    Args:
        seed: Any int from 0 to 2^31 - 1.
        split: `"train"`, `"validation"`, `"test"`, or `"unseen"`: pairs of shape and colour, or
            of shape and motion, that no other split shows.
        num_frames: `T`, at least 2.
        side: `S`, pixels, a multiple of 16, at least 96.

    Raises:
        ValueError: If an argument is out of range.
    """

    def __init__(
        self, seed: int = 0, split: Split = "train", num_frames: int = 8, side: int = 96
    ) -> None:
        if not 0 <= seed < 2**31:
            raise ValueError(f"seed must be in [0, 2^31), got {seed!r}. Choose a smaller one.")
        if num_frames < 2:
            raise ValueError(
                f"num_frames must be at least 2, got {num_frames!r}. A motion needs two frames."
            )
        if side < 96 or side % 16:
            raise ValueError(
                f"side must be a multiple of 16 and at least 96, got {side!r}. Use 96 or 112."
            )
        self.seed = seed
        self.split: Split = split
        self.num_frames = num_frames
        self.side = side

    def factors(self, indices: Sequence[int] | Tensor) -> Factors:
        """Return what clips show, without drawing them."""
        return draw_factors(self._draws(indices), self.split)

    @torch.no_grad()
    def clips(
        self, indices: Sequence[int] | Tensor, frames: Sequence[int] | None = None
    ) -> ShapesClips:
        """Draw clips.

        Args:
            indices: Indices of the clips, each at least 0; a tensor's device is where they are
                drawn.
            frames: Which of the `num_frames` frames to draw, each the same as in the whole clip;
                None draws all. `T` is then their number.
        """
        draws = self._draws(indices)
        factors = draw_factors(draws, self.split)
        paths = draw_paths(draws, factors, self.num_frames, self.side)
        shake = camera_shake(draws, self.num_frames)
        moments = torch.arange(self.num_frames, device=shake.device)
        if frames is not None:
            moments = moments[list(frames)]
        shown, shake = paths.at(moments), shake[:, moments]
        time = torch.linspace(-1, 1, self.num_frames, device=shake.device)[moments]
        pictures = draw_background(draws, self.split, shake, time, self.side)
        pictures, objects = _draw_objects(draws, factors, shown, shake, pictures)
        pictures = compress(draws, add_noise(draws, light(draws, pictures, time), moments))
        pixels = (pictures.clamp(0, 1) * 255).round().to(torch.uint8)
        centres = shown.position + shake[:, :, None]
        return ShapesClips(pixels, objects, factors, centres, paths.mean_speed())

    def _draws(self, indices: Sequence[int] | Tensor) -> Draws:
        return Draws(self.seed, self.split, torch.as_tensor(indices, dtype=torch.int64))


def _draw_objects(
    draws: Draws, factors: Factors, paths: Paths, shake: Tensor, frames: Tensor
) -> tuple[Tensor, Tensor]:
    """Draw both objects over frames (B, T, 3, S, S); the second is behind the first."""
    rgb = torch.tensor(RGB, device=frames.device)
    tint = draws.between("tint", -0.06, 0.06, 2, 3)
    objects = torch.zeros_like(frames[:, :, 0], dtype=torch.uint8)
    for k, shape, colour in (
        (1, factors.second_shape, factors.second_colour),
        (0, factors.shape, factors.colour),
    ):
        inside = _pixels_inside(paths, k, shape, shake, frames.shape[-1])
        share = (inside + 0.5).clamp(0, 1) * paths.is_visible[..., k, None, None]
        rim = RIM_LIGHT + (1 - RIM_LIGHT) * (inside - RIM_PIXELS + 0.5).clamp(0, 1)
        paint = (rgb[colour] + tint[:, k])[:, None, :, None, None] * rim[:, :, None]
        frames = frames + share[:, :, None] * (paint - frames)
        objects = objects.masked_fill(share > 0.5, k + 1)
    return frames, objects


def _pixels_inside(paths: Paths, k: int, shape: Tensor, shake: Tensor, side: int) -> Tensor:
    """How far inside an object's edge each pixel is, in pixels, (B, T, S, S)."""
    radius, angle = paths.radius[..., k], paths.angle[..., k]
    centre = paths.position[..., k, :] + shake
    half = side / 2  # grid_sample's coordinates: -1 and 1 are the borders of the frame
    zoom = half / (radius * MAP_REACH)
    cos, sin = angle.cos() * zoom, angle.sin() * zoom
    from_middle = (half - centre) / half
    move_x = cos * from_middle[..., 0] + sin * from_middle[..., 1]
    move_y = cos * from_middle[..., 1] - sin * from_middle[..., 0]
    theta = torch.stack((cos, sin, move_x, -sin, cos, move_y), dim=-1).view(-1, 2, 3)
    maps = distance_maps().to(radius.device)[shape]
    maps = maps[:, None].expand(-1, radius.shape[1], -1, -1).flatten(0, 1)[:, None]
    grid = F.affine_grid(theta, [len(theta), 1, side, side], align_corners=False)
    inside = F.grid_sample(maps, grid, padding_mode="border", align_corners=True)
    return inside.view(*radius.shape, side, side) * radius[..., None, None]
