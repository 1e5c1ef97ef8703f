from math import atan2, hypot, pi, sqrt

import pytest
import torch

from vidtldr.shapes.factors import SHAPES
from vidtldr.shapes.outlines import MAP_REACH, MAP_SIDE, _polygons, distance_maps

Point = tuple[float, float]


def distance_reference(point: Point, corners: list[Point]) -> float:
    """Distance to the nearest edge in float64; the sign by how often the edge winds around."""
    x, y = point
    nearest, winding = float("inf"), 0.0
    for (ax, ay), (bx, by) in zip(corners, corners[1:] + corners[:1], strict=True):
        ex, ey, px, py = bx - ax, by - ay, x - ax, y - ay
        along = min(1.0, max(0.0, (px * ex + py * ey) / (ex * ex + ey * ey)))
        nearest = min(nearest, hypot(px - along * ex, py - along * ey))
        turn = atan2(by - y, bx - x) - atan2(ay - y, ax - x)
        winding += (turn + pi) % (2 * pi) - pi
    return nearest if abs(winding) > pi else -nearest


def area_reference(corners: list[Point]) -> float:
    pairs = zip(corners, corners[1:] + corners[:1], strict=True)
    return abs(sum(ax * by - bx * ay for (ax, ay), (bx, by) in pairs)) / 2


@pytest.mark.parametrize("index", range(8), ids=SHAPES)
def test_distances_are_those_of_a_slow_reference(index: int) -> None:
    corners = _polygons()[index]
    axis = [MAP_REACH * (2 * i / (MAP_SIDE - 1) - 1) for i in range(MAP_SIDE)]
    for row in range(1, MAP_SIDE, 7):
        for column in range(2, MAP_SIDE, 7):
            expected = distance_reference((axis[column], axis[row]), corners)
            found = distance_maps()[index, row, column].item()
            if abs(expected) < 1e-6:  # on the edge the sign is nothing but rounding
                assert abs(found) < 1e-6
            else:
                assert found == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("index", range(8), ids=SHAPES)
def test_areas(index: int) -> None:
    expected = area_reference(_polygons()[index])
    closed_form = {
        "oval": 0.62 * pi,
        "square": 1.6**2,
        "triangle": 3 * sqrt(3) / 4,
        "cross": 4 * 0.95 * 0.3 * 2 - (2 * 0.3) ** 2,
    }
    assert expected == pytest.approx(closed_form.get(SHAPES[index], expected), rel=0.005)
    # each cell counts by the share of it that is inside, as a pixel does
    cell = 2 * MAP_REACH / (MAP_SIDE - 1)
    shares = (distance_maps()[index].double() / cell + 0.5).clamp(0, 1)
    assert shares.sum().item() * cell**2 == pytest.approx(expected, rel=0.02)


def test_every_shape_lies_within_its_map_and_reaches_about_its_radius() -> None:
    maps = distance_maps()
    assert maps.shape == (8, MAP_SIDE, MAP_SIDE)
    border = torch.cat((maps[:, 0], maps[:, -1], maps[:, :, 0], maps[:, :, -1]), dim=1)
    assert (border < 0).all()
    for corners in _polygons():
        assert 0.9 < max(hypot(x, y) for x, y in corners) < 1.2


def test_distances_change_no_faster_than_the_place() -> None:
    maps, step = distance_maps(), 2 * MAP_REACH / (MAP_SIDE - 1)
    assert maps.diff(dim=1).abs().max() <= step + 1e-5
    assert maps.diff(dim=2).abs().max() <= step + 1e-5


def test_no_two_shapes_look_alike() -> None:
    inside = distance_maps().flatten(1) > 0
    for one in range(8):
        for other in range(one):
            both = (inside[one] & inside[other]).sum() / (inside[one] | inside[other]).sum()
            assert both < 0.9, (SHAPES[one], SHAPES[other])
