"""Where the objects are in every frame.

Letters: `B` clips, `T` frames, `K` objects (2). Positions are in pixels, x right and y down.
"""

from dataclasses import dataclass
from math import pi

import torch
from torch import Tensor

from vidtldr.shapes.draws import Draws
from vidtldr.shapes.factors import DIRECTIONS, MOTIONS, RELATIONS, SECOND_MOTIONS, SIZES, Factors

__all__ = ["Paths", "draw_paths"]

MARGIN = 2.0  # pixels between an object's farthest reach and the border, before the camera shakes
RADII = {"small": (13.0, 14.5), "big": (20.0, 21.5)}
SECOND_RADII = (11.0, 12.0)
SWAY = 7.0
STEPS = {"left": (-1.0, 0.0), "right": (1.0, 0.0), "up": (0.0, -1.0), "down": (0.0, 1.0)}


@dataclass(frozen=True)
class Paths:
    """The objects over time.

    Attributes:
        position: Centre of each object, shape (B, T, K, 2).
        radius: Current radius, shape (B, T, K).
        angle: Rotation from upright, clockwise, radians, shape (B, T, K).
        is_visible: Whether the object is visible, shape (B, T, K), bool.
    """

    position: Tensor
    radius: Tensor
    angle: Tensor
    is_visible: Tensor

    def at(self, moments: Tensor) -> "Paths":
        """The objects in the frames with the given indices, (T',)."""
        return Paths(
            self.position[:, moments],
            self.radius[:, moments],
            self.angle[:, moments],
            self.is_visible[:, moments],
        )

    def mean_speed(self) -> Tensor:
        """Mean speed of each object's centre in pixels per frame, shape (B, K)."""
        steps = self.position.diff(dim=1)
        return steps.square().sum(dim=-1).sqrt().mean(dim=1)


def draw_paths(draws: Draws, factors: Factors, num_frames: int, side: float) -> Paths:
    """Draw how the objects of each clip move; they stay in the frame and apart from each other.

    Args:
        draws: Random numbers of the clips.
        factors: What the clips show.
        num_frames: `T`, at least 2.
        side: Side of a frame, pixels.
    """
    time = torch.linspace(0, 1, num_frames, device=factors.shape.device)  # the clip is one second
    first = _first_offsets(draws, factors, time)
    second = _second_offsets(draws, factors, num_frames)
    offsets = torch.stack((first, second), dim=2)  # (B, T, K, 2)
    nominal = torch.stack((_first_radius(draws, factors), draws.between("r2", *SECOND_RADII)), -1)
    reach = offsets.abs().amax(dim=1) + nominal[..., None]  # (B, K, 2)
    centres = _place(draws, factors, reach, side)
    seen = torch.stack((_first_is_visible(draws, factors, time), _second_exists(factors, time)), -1)
    return Paths(
        position=centres[:, None] + offsets,
        radius=nominal[:, None] * _scale(factors, time),
        angle=_angles(draws, factors, time),
        is_visible=seen,
    )


def _first_radius(draws: Draws, factors: Factors) -> Tensor:
    low = torch.tensor([RADII[size][0] for size in SIZES], device=factors.size.device)
    high = torch.tensor([RADII[size][1] for size in SIZES], device=factors.size.device)
    share = draws.uniform("radius")
    return low[factors.size] + share * (high - low)[factors.size]


def _does(factors: Factors, motion: str) -> Tensor:
    """Whether the first object moves in this way, (B, 1)."""
    return (factors.motion == MOTIONS.index(motion))[:, None]


def _first_offsets(draws: Draws, factors: Factors, time: Tensor) -> Tensor:
    """Offsets from the middle of the first object's path, (B, T, 2)."""
    steps = torch.tensor([STEPS[name] for name in DIRECTIONS], device=time.device)
    length = draws.between("length", 18.0, 21.0)[:, None, None]
    moves = steps[factors.direction][:, None] * (time - 0.5)[:, None] * length
    turn = 2 * pi * (draws.uniform("phase")[:, None] + 0.9 * _sign(draws, "orbit") * time)
    circles = torch.stack((turn.cos(), turn.sin()), -1) * draws.between(
        "orbit radius", 11, 14, 1, 1
    )
    height = draws.between("height", 16.0, 20.0)[:, None] * (0.5 - (2 * pi * time).sin().abs())
    bounces = torch.stack((torch.zeros_like(height), height), -1)
    offsets = torch.zeros_like(circles)
    for motion, path in (("moves", moves), ("circles", circles), ("bounces", bounces)):
        offsets = torch.where(_does(factors, motion)[..., None], path, offsets)
    return offsets


def _second_offsets(draws: Draws, factors: Factors, num_frames: int) -> Tensor:
    """The second object sways across the line between the two, or stays: (B, T, 2)."""
    wave = torch.tensor([0.0, 1.0, 0.0, -1.0], device=factors.shape.device)
    sway = SWAY * wave[torch.arange(num_frames, device=wave.device) % 4] * _sign(draws, "sway")
    sways = (factors.second_motion == SECOND_MOTIONS.index("sways"))[:, None]
    across = torch.where(sways, sway, torch.zeros_like(sway))[..., None]  # (B, T, 1)
    return across * torch.stack((~_is_beside(factors), _is_beside(factors)), -1)[:, None]


def _is_beside(factors: Factors) -> Tensor:
    """Whether the two stand side by side and not one above the other, (B,)."""
    return factors.relation < RELATIONS.index("above")


def _place(draws: Draws, factors: Factors, reach: Tensor, side: float) -> Tensor:
    """Centres of both paths, (B, K, 2): one past the other along the line of their relation."""
    along_x = _is_beside(factors)[:, None]
    free = side / 2 - MARGIN - reach  # how far a centre can go from the middle, (B, K, 2)
    anywhere = side / 2 + free * draws.between("place", -1, 1, 2, 2)
    axis = (~along_x).long()[..., None].expand(-1, 2, 1)  # of the line: 0 for x, 1 for y
    along = _along_the_line(draws, factors, reach.gather(2, axis).squeeze(2), side)
    free_across = free.gather(2, 1 - axis).squeeze(2)
    across = _across_the_line(draws, anywhere.gather(2, 1 - axis).squeeze(2), free_across, side)
    x = torch.where(along_x, along, across)
    y = torch.where(along_x, across, along)
    alone = (factors.num_objects == 1)[:, None, None]
    return torch.where(alone, anywhere, torch.stack((x, y), dim=-1))


def _along_the_line(draws: Draws, factors: Factors, needed: Tensor, side: float) -> Tensor:
    """Positions of both objects along their line, (B, K); each has `needed` pixels either way."""
    first_before = (factors.relation == RELATIONS.index("right")) | (
        factors.relation == RELATIONS.index("below")
    )
    slack = (side - 2 * MARGIN - 2 * needed.sum(dim=1)).clamp(min=0)
    gap_before, gap_between = (draws.uniform("gaps", 2) * slack[:, None] / 2).unbind(1)
    ahead = torch.where(first_before, needed[:, 0], needed[:, 1])
    behind = torch.where(first_before, needed[:, 1], needed[:, 0])
    near = MARGIN + gap_before + ahead
    far = near + ahead + gap_between + behind
    first = torch.where(first_before, near, far)
    return torch.stack((first, near + far - first), dim=1)


def _across_the_line(draws: Draws, anywhere: Tensor, free: Tensor, side: float) -> Tensor:
    """Positions of both objects across their line, (B, K): the second close to the first."""
    off = draws.between("off the line", -10.0, 10.0)
    low, high = side / 2 - free[:, 1], side / 2 + free[:, 1]
    beside = torch.minimum(torch.maximum(anywhere[:, 0] + off, low), high)
    return torch.stack((anywhere[:, 0], beside), dim=1)


def _scale(factors: Factors, time: Tensor) -> Tensor:
    """Share of the nominal radius, (B, T, K)."""
    grown = 0.4 + 0.6 * time
    scale = torch.ones(len(factors.shape), len(time), 2, device=time.device)
    scale[..., 0] = torch.where(_does(factors, "grows"), grown, scale[..., 0])
    scale[..., 0] = torch.where(_does(factors, "shrinks"), grown.flip(0), scale[..., 0])
    return scale


def _angles(draws: Draws, factors: Factors, time: Tensor) -> Tensor:
    """A small tilt for each object, plus the rotation of one that spins, (B, T, K)."""
    tilt = draws.between("tilt", -0.12, 0.12, 1, 2)
    total = draws.between("turn", 2.0, 3.2, 1) * _sign(draws, "spin")
    turn = torch.where(_does(factors, "spins"), total * time, torch.zeros_like(time))
    return tilt + torch.stack((turn, torch.zeros_like(turn)), -1)


def _first_is_visible(draws: Draws, factors: Factors, time: Tensor) -> Tensor:
    """Whether it is visible: always, or from some moment in the middle on, (B, T)."""
    since = draws.between("since", 0.25, 0.75, 1)
    return ~_does(factors, "appears") | (time >= since)


def _second_exists(factors: Factors, time: Tensor) -> Tensor:
    return (factors.num_objects == 2)[:, None].expand(-1, len(time))


def _sign(draws: Draws, name: str) -> Tensor:
    """Draw -1 or 1 for each clip, (B, 1)."""
    return 2.0 * draws.integer(name, 2)[:, None] - 1.0
