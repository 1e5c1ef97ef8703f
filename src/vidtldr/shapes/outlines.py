"""The outlines of the eight shapes, as maps of the signed distance to their edge.

Letters: `P` corners of a polygon, `G` side of a map, `M` points.
"""

from functools import cache
from math import cos, pi, sin

import torch
from torch import Tensor

__all__ = ["MAP_REACH", "distance_maps"]

MAP_REACH = 1.3  # a map spans [-MAP_REACH, MAP_REACH] where the shape's radius is 1
MAP_SIDE = 65


@cache
def distance_maps() -> Tensor:
    """Signed distance to the edge, positive inside, in radii of the shape.

    Returns:
        One map per shape, in the order of `SHAPES`, shape (8, G, G), float32, on the CPU; row is y
        (down), column is x.
    """
    axis = torch.linspace(-MAP_REACH, MAP_REACH, MAP_SIDE)
    points = torch.stack(torch.meshgrid(axis, axis, indexing="xy"), dim=-1).view(-1, 2)
    maps = [_signed_distance(points, torch.tensor(corners)) for corners in _polygons()]
    return torch.stack(maps).view(-1, MAP_SIDE, MAP_SIDE)


def _polygons() -> list[list[tuple[float, float]]]:
    """Corners (x, y) of each shape, y down, the farthest about 1 from the middle."""
    return [
        [(cos(a), 0.62 * sin(a)) for a in _turns(40)],
        [(-0.8, -0.8), (0.8, -0.8), (0.8, 0.8), (-0.8, 0.8)],
        [(sin(a), -cos(a) + 0.1) for a in _turns(3)],
        [((1.0, 0.42)[i % 2] * sin(a), -(1.0, 0.42)[i % 2] * cos(a)) for i, a in _numbered(10)],
        _cross(arm=0.95, half_width=0.3),
        [_heart(a) for a in _turns(48)],
        _moon(),
        [
            (0, -1),
            (0.8, -0.1),
            (0.32, -0.1),
            (0.32, 0.9),
            (-0.32, 0.9),
            (-0.32, -0.1),
            (-0.8, -0.1),
        ],
    ]


def _turns(count: int) -> list[float]:
    return [2 * pi * i / count for i in range(count)]


def _numbered(count: int) -> list[tuple[int, float]]:
    return list(enumerate(_turns(count)))


def _cross(arm: float, half_width: float) -> list[tuple[float, float]]:
    quarter = [(half_width, -arm), (half_width, -half_width), (arm, -half_width)]
    corners = []
    for _ in range(4):
        corners += quarter
        quarter = [(-y, x) for x, y in quarter]
    return corners


def _heart(angle: float) -> tuple[float, float]:
    x = 16 * sin(angle) ** 3
    y = 13 * cos(angle) - 5 * cos(2 * angle) - 2 * cos(3 * angle) - cos(4 * angle)
    return x / 17, -y / 17 - 0.1


def _moon() -> list[tuple[float, float]]:
    """A crescent open to the right: an outer arc and back along an inner one."""
    outer = [(cos(a), sin(a)) for a in (0.9 + (2 * pi - 1.8) * i / 30 for i in range(31))]
    tip_x, tip_y = outer[0]
    centre = tip_x + 0.05
    inner = [
        (centre + tip_y * 0.95 * cos(a), tip_y * sin(a))
        for a in (-pi / 2 - pi * i / 20 for i in range(1, 20))
    ]
    return [(x + 0.2, y) for x, y in outer + inner]


def _signed_distance(points: Tensor, corners: Tensor) -> Tensor:
    """Distance of points (M, 2) to a polygon (P, 2), positive inside, shape (M,)."""
    start, end = corners, corners.roll(-1, 0)
    edge, away = end - start, points[:, None] - start  # (P, 2), (M, P, 2)
    along = ((away * edge).sum(-1) / edge.square().sum(-1)).clamp(0, 1)
    distance = (away - along[..., None] * edge).norm(dim=-1).amin(dim=1)
    return torch.where(_is_inside(points, start, end), distance, -distance)


def _is_inside(points: Tensor, start: Tensor, end: Tensor) -> Tensor:
    """Whether a ray to the right crosses the edges an odd number of times, (M,)."""
    x, y = points[:, :1], points[:, 1:]
    spans = (start[:, 1] > y) != (end[:, 1] > y)
    slope = (end[:, 0] - start[:, 0]) / (end[:, 1] - start[:, 1])
    crosses = spans & (x < start[:, 0] + (y - start[:, 1]) * slope)
    return crosses.sum(dim=1) % 2 == 1
