from collections.abc import Callable
from itertools import pairwise
from math import hypot

import pytest
import torch
from torch import Tensor

from vidtldr.shapes.draws import Draws
from vidtldr.shapes.factors import DIRECTIONS, MOTIONS, RELATIONS, Factors
from vidtldr.shapes.motion import MARGIN, STEPS, SWAY, Paths, draw_paths
from vidtldr.shapes.scenery import MAX_SHAKE

Drawn = Callable[..., tuple[Draws, Factors]]
NUM_CLIPS = 3000
ROUNDING = 1e-3


@pytest.fixture(params=[(2, 96), (4, 96), (8, 96), (8, 112)], ids=lambda p: f"{p[0]}x{p[1]}")
def scene(request: pytest.FixtureRequest, drawn: Drawn) -> tuple[Factors, Paths, int]:
    num_frames, side = request.param
    draws, factors = drawn(NUM_CLIPS)
    return factors, draw_paths(draws, factors, num_frames, side), side


def doing(factors: Factors, motion: str) -> Tensor:
    return factors.motion == MOTIONS.index(motion)


def test_shapes_and_types(scene: tuple[Factors, Paths, int]) -> None:
    _, paths, _ = scene
    num_frames = paths.position.shape[1]
    assert paths.position.shape == (NUM_CLIPS, num_frames, 2, 2)
    assert paths.radius.shape == paths.angle.shape == (NUM_CLIPS, num_frames, 2)
    assert paths.is_visible.dtype == torch.bool


def test_objects_stay_in_the_frame(scene: tuple[Factors, Paths, int]) -> None:
    factors, paths, side = scene
    reach = paths.radius.amax(dim=1)[:, None, :, None]  # at its largest, all the time
    low, high = paths.position - reach, paths.position + reach
    alone = factors.num_objects == 1
    assert low[alone, :, 0].min() >= MARGIN - ROUNDING
    assert high[alone, :, 0].max() <= side - MARGIN + ROUNDING
    # two big paths may need all of a small frame: then only the margin on one side is left
    assert low[~alone].min() >= MARGIN - ROUNDING
    assert high[~alone].max() <= side + ROUNDING
    assert MAX_SHAKE < MARGIN


def test_two_objects_stay_apart_and_the_relation_holds_in_every_frame(
    scene: tuple[Factors, Paths, int],
) -> None:
    factors, paths, _ = scene
    two = factors.num_objects == 2
    offset = (paths.position[:, :, 1] - paths.position[:, :, 0])[two]  # seen from the first
    needed = paths.radius.amax(dim=1).sum(dim=1)[two]
    towards = {"left": (0, -1), "right": (0, 1), "above": (1, -1), "below": (1, 1)}
    for relation, (axis, sign) in towards.items():
        clips = factors.relation[two] == RELATIONS.index(relation)
        assert clips.sum() > 100
        gap = sign * offset[clips][..., axis] - needed[clips, None]
        assert gap.min() >= -ROUNDING


def test_the_mean_speed_is_that_of_a_slow_reference(scene: tuple[Factors, Paths, int]) -> None:
    _, paths, _ = scene
    speeds = paths.mean_speed()
    assert speeds.shape == (NUM_CLIPS, 2)
    for clip in range(0, NUM_CLIPS, 97):
        for k in range(2):
            places = paths.position[clip, :, k].double().tolist()
            steps = [hypot(b[0] - a[0], b[1] - a[1]) for a, b in pairwise(places)]
            assert speeds[clip, k].item() == pytest.approx(sum(steps) / len(steps), abs=1e-3)


def test_only_what_moves_moves(scene: tuple[Factors, Paths, int]) -> None:
    factors, paths, _ = scene
    speeds = paths.mean_speed()
    moving = doing(factors, "moves") | doing(factors, "circles") | doing(factors, "bounces")
    assert (speeds[~moving, 0] == 0).all()
    if paths.position.shape[1] > 2:  # a bounce ends where it began
        assert (speeds[moving, 0] > 1).all()
    sways = factors.second_motion == 1
    assert (speeds[~sways, 1] == 0).all()
    assert (speeds[sways, 1] > SWAY / 2).all()


def test_what_moves_goes_straight_in_its_direction(scene: tuple[Factors, Paths, int]) -> None:
    factors, paths, _ = scene
    for index, name in enumerate(DIRECTIONS):
        clips = doing(factors, "moves") & (factors.direction == index)
        steps = paths.position[clips, :, 0].diff(dim=1)
        ahead = steps @ torch.tensor(STEPS[name])
        total = ahead.sum(dim=1)
        assert (ahead > 0).all()
        assert ((total >= 18 - ROUNDING) & (total <= 21 + ROUNDING)).all()
        assert torch.allclose(steps.norm(dim=-1), ahead, atol=1e-3)


def test_what_circles_keeps_its_distance_from_one_place(drawn: Drawn) -> None:
    draws, factors = drawn(NUM_CLIPS)
    paths = draw_paths(draws, factors, 8, 96)
    places = paths.position[doing(factors, "circles"), :, 0].double()
    # the centre from three of the frames: 2 (p_i - p_0) . c = |p_i|^2 - |p_0|^2
    lines = 2 * (places[:, [2, 4]] - places[:, :1])
    squares = places.square().sum(dim=-1)
    centre = torch.linalg.solve(lines, (squares[:, [2, 4]] - squares[:, :1])[..., None])
    radii = (places - centre.transpose(1, 2)).norm(dim=-1)
    assert (radii - radii[:, :1]).abs().max() < 0.01
    assert radii.min() > 11 - ROUNDING
    assert radii.max() < 14 + ROUNDING


def test_what_grows_shrinks_or_spins_does_so_and_nothing_else_does(
    scene: tuple[Factors, Paths, int],
) -> None:
    factors, paths, _ = scene
    first, last = paths.radius[:, 0, 0], paths.radius[:, -1, 0]
    grows, shrinks = doing(factors, "grows"), doing(factors, "shrinks")
    assert torch.allclose(first[grows] / last[grows], torch.tensor(0.4))
    assert torch.allclose(last[shrinks] / first[shrinks], torch.tensor(0.4))
    same = ~(grows | shrinks)
    assert (paths.radius[same] == paths.radius[same, :1]).all()
    spins = doing(factors, "spins")
    turned = (paths.angle[:, -1, 0] - paths.angle[:, 0, 0]).abs()
    assert ((turned[spins] > 2 - ROUNDING) & (turned[spins] < 3.2 + ROUNDING)).all()
    assert (turned[~spins] == 0).all()
    assert (paths.angle[:, :, 1] == paths.angle[:, :1, 1]).all()


def test_what_appears_is_there_from_some_frame_on(scene: tuple[Factors, Paths, int]) -> None:
    factors, paths, _ = scene
    appears = doing(factors, "appears")
    seen = paths.is_visible[..., 0]
    assert not seen[appears, 0].any()
    assert seen[appears, -1].all()
    assert (seen[appears].long().diff(dim=1) >= 0).all()
    assert seen[~appears].all()
    assert (paths.is_visible[..., 1] == (factors.num_objects == 2)[:, None]).all()
